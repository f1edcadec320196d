"""Evaluate: a checkpoint in, its accuracy on unseen streams per kind of question out.

`python -m eval.training.evaluate --streams 100 --seed 0` renders streams of 64 seconds, asks
questions at random moments of each, and sets the answers of a plain forward pass beside two
baselines: the answer most frequent for the kind, and the same model without any frame.
The last line of the output is JSON.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import av
import numpy as np
from jaxtyping import UInt8

from eval.stream_world import (
    KINDS,
    SEEN_STYLES,
    Question,
    Renderer,
    Score,
    Script,
    Split,
    draw_questions,
    score,
    tally,
    write_script,
    write_video,
)
from eval.training.plain_model import PlainModel, PlainSession
from vstream.weights import embedded_weights

STREAM_S = 64
VIDEO_FPS, VIDEO_PX = 2, 384
BASELINE_SEED, BASELINE_STREAMS = 1 << 40, 200


@dataclass(frozen=True)
class Result:
    """One question with the scores of the model and of the two baselines."""

    question: Question
    model: Score
    majority: Score
    no_frames: Score


@dataclass(frozen=True)
class Options:
    """What to measure; `through_video` sends each stream through an mp4 file first."""

    checkpoint: Path
    streams: int
    seed: int
    questions: int
    split: Split
    styles: tuple[str, ...]
    through_video: bool


def evaluate(options: Options) -> list[Result]:
    """Ask `questions` about each stream and score every answer."""
    weights = PlainModel(options.checkpoint)
    majority = majority_answers(BASELINE_SEED, BASELINE_STREAMS)
    results: list[Result] = []
    for seed in range(options.seed, options.seed + options.streams):
        script = write_script(seed, STREAM_S, options.styles)
        rng = Random(seed)
        kinds = rng.sample(list(KINDS), len(KINDS))
        questions = draw_questions(script, options.questions, rng, kinds, options.split)
        pictures = _through_video(script) if options.through_video else _rendered(script)
        answers = _answers(weights, script, pictures, questions)
        for question, answer in zip(questions, answers, strict=True):
            given = (
                answer,
                majority.get(question.kind, ""),
                PlainSession(weights).ask(question.text),
            )
            scores = [score(question.answer, text, question.asked_s) for text in given]
            results.append(Result(question, *scores))
    return results


def majority_answers(first_seed: int, num_streams: int) -> dict[str, str]:
    """The most frequent answer of each kind in other streams than those evaluated."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for seed in range(first_seed, first_seed + num_streams):
        for question in draw_questions(write_script(seed, STREAM_S), 48, Random(seed)):
            counts[question.kind][question.answer] += 1
    return {kind: answers.most_common(1)[0][0] for kind, answers in counts.items()}


def _answers(
    weights: PlainModel,
    script: Script,
    pictures: Sequence[UInt8[np.ndarray, "height width 3"]],
    questions: Sequence[Question],
) -> list[str]:
    """Each question is asked when its second is the last one watched."""
    frames = weights.frames(pictures, [moment.time_s for moment in script.moments])
    session, watched, answers = PlainSession(weights), 0, []
    for question in questions:
        session.watch(frames[watched : question.asked_s + 1])
        watched = question.asked_s + 1
        answers.append(session.ask(question.text))
    return answers


def _rendered(script: Script) -> list[UInt8[np.ndarray, "height width 3"]]:
    renderer = Renderer()
    return [renderer.frame(moment) for moment in script.moments]


def _through_video(script: Script) -> list[UInt8[np.ndarray, "height width 3"]]:
    """The frames at whole seconds of the stream's video file."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "stream.mp4"
        write_video(path, script, VIDEO_FPS, VIDEO_PX)
        with av.open(str(path)) as container:
            decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return decoded[::VIDEO_FPS]


def report(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """Accuracies per kind, then over the present, the past and all."""
    groups = {kind: [r for r in results if r.question.kind == kind] for kind in KINDS}
    groups["present"] = [r for r in results if not r.question.is_about_past]
    groups["past"] = [r for r in results if r.question.is_about_past]
    groups["all"] = list(results)
    rows: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        model = tally([r.model for r in group])
        rows[name] = {
            "questions": len(group),
            "accuracy": round(model.accuracy, 3),
            "exact": round(model.exact_share, 3),
            "majority": round(tally([r.majority for r in group]).accuracy, 3),
            "no_frames": round(tally([r.no_frames for r in group]).accuracy, 3),
        }
    return rows


def _parse(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m eval.training.evaluate", description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=embedded_weights())
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the first stream")
    parser.add_argument("--questions", type=int, default=24, help="asked about each stream")
    parser.add_argument("--split", choices=("train", "held_out"), default="train")
    parser.add_argument("--styles", nargs="+", default=list(SEEN_STYLES))
    parser.add_argument("--through-video", action="store_true", help="encode to mp4 and decode")
    given = parser.parse_args(arguments)
    return Options(**{**vars(given), "styles": tuple(given.styles)})


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table, then one line of JSON."""
    rows = report(evaluate(_parse(arguments)))
    columns = list(rows["all"])
    lines = ["| kind | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(map(str, row.values())) + " |" for name, row in rows.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n" + json.dumps(rows) + "\n")


if __name__ == "__main__":
    main()
