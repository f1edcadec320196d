"""Interview: puts one contender's questions of a play, one by one, and tells what was said."""

import math
from collections.abc import Collection, Iterable
from dataclasses import asdict
from typing import Any

import torch

from eval.play.asker import Ask, GivenAnswer
from eval.play.plays import AskTime, Play, Prompt, VideoQuestion
from eval.play.records import ANSWERS, Report
from eval.play.settings import PlaySettings
from memory import KVMemoryError
from vstream import Question, VStreamError

FAILURES = (VStreamError, KVMemoryError, torch.OutOfMemoryError)
"""What ends one answer but not the run: a baseline may not fit, a video may be damaged."""


class Interview:
    """Skips questions already on record. No answer influences another question."""

    def __init__(
        self,
        play: Play,
        policy: str,
        settings: PlaySettings,
        known: Collection[str],
        report: Report,
    ) -> None:
        """`known`: ids of questions on record. Tells a line of a predictions file for each complete
        answer, with what else is known of each text; `asked_s` None is the end of the video.
        """
        self._play = play
        self._file = f"{ANSWERS}{policy}"
        self._settings = settings
        self._report = report
        self._open: dict[int, dict[str, Any]] = {
            number: {"id": one.id, "texts": [], "said": []}
            for number, one in enumerate(play.asked)
            if one.id not in known
        }

    @property
    def until_s(self) -> float:
        """When the last of the remaining questions is asked; before everything if none remain."""
        return max((self._play.asked[n].spans[-1].end_s for n in self._open), default=-math.inf)

    def put(self, time: AskTime, ask: Ask) -> None:
        """Ask, unless the question has already been answered."""
        if time.number not in self._open:
            return
        asked = self._play.asked[time.number]
        final = asked.follow_up(self._say(time, asked, asked.prompt, ask))
        if final is not None:
            self._say(time, asked, final, ask)
        if final is not None or len(self._open[time.number]["said"]) == len(asked.spans):
            self._report((self._file, self._open.pop(time.number)))

    def fail(self, times: Iterable[AskTime], why: Exception) -> None:
        """Record that nothing can be asked at these times any more."""
        for time in times:
            self.put(time, lambda question, evidence: _failed(why))

    def _say(self, time: AskTime, asked: VideoQuestion, prompt: Prompt, ask: Ask) -> str | None:
        document = self._open[time.number]
        at_s = None if math.isinf(time.at_s) else time.at_s
        decoding = self._settings.decoding(asked.id, len(document["said"]))
        question = Question(prompt.text, at_s, decoding=decoding, answer_start=prompt.answer_start)
        try:
            said = ask(question, asked.evidence)
        except FAILURES as error:
            said = _failed(error)
        told = asdict(said)
        document["texts"].append(told.pop("text"))
        document["said"].append({"asked_s": at_s, **told})
        return said.text


def _failed(why: Exception) -> GivenAnswer:
    return GivenAnswer(None, error=f"{type(why).__name__}: {why}")
