"""Sample: a seed in, a short video and a sheet of questions with true answers out.

`python -m eval.stream_world sample --seed 2003 --out app/assets` writes the stream of the demo.
2003 is the first seed from 2000 on whose stream is varied: at least 10 objects, 4 scenes and a
sign, 3 changes of colour, and objects in view nine tenths of the time.
"""

import json
from pathlib import Path
from random import Random

from eval.stream_world.history import History
from eval.stream_world.questions import Question, ask
from eval.stream_world.script import Script, write_script
from eval.stream_world.video import write_video

PLAN = (
    (0.2, "exist"),
    (0.3, "color"),
    (0.45, "where"),
    (0.6, "seen_yet"),
    (0.75, "color_first"),
    (0.85, "order"),
    (0.97, "count_times"),
)
"""Which kind of question comes when, in parts of the stream's length."""
SEARCH_S = 12
"""How long to wait for a moment that has something of that kind to ask about."""


def write_sample(folder: Path, seed: int, length_s: int, fps: int, side_px: int) -> None:
    """Write `sample_stream.mp4` and `sample_stream.json`."""
    script = write_script(seed, length_s)
    folder.mkdir(parents=True, exist_ok=True)
    write_video(folder / "sample_stream.mp4", script, fps, side_px)
    sheet = {
        "about": "A made-up stream. Answers and evidence are the ground truth of its script.",
        "command": (
            f"python -m eval.stream_world sample --seed {seed} --seconds {length_s} "
            f"--fps {fps} --side {side_px} --out {folder.as_posix()}"
        ),
        "drawings": (
            "Fluent Emoji (MIT), Noto Emoji, new and old (Apache-2.0), Emojitwo (CC-BY 4.0): "
            "see eval/stream_world/assets/README.md"
        ),
        "length_s": length_s,
        "fps": fps,
        "questions": [_entry(question) for question in sample_questions(script)],
    }
    text = json.dumps(sheet, indent=2) + "\n"
    (folder / "sample_stream.json").write_text(text, encoding="utf-8")


def sample_questions(script: Script) -> list[Question]:
    """The questions of the plan that the stream offers, in the order of asking."""
    rng, history = Random(script.seed), History.of(script)
    questions = []
    for part, kind in PLAN:
        start = int(part * len(script.moments))
        for now in range(start, min(start + SEARCH_S, len(script.moments))):
            question = ask(kind, history.until(now), rng)
            if question is not None:
                questions.append(question)
                break
    return questions


def _entry(question: Question) -> dict[str, object]:
    return {
        "asked_s": question.asked_s,
        "kind": question.kind,
        "question": question.text,
        "answer": question.answer,
        "evidence_s": [[span.start_s, span.end_s] for span in question.evidence],
    }
