"""Sample: a seed's short video and a sheet of questions with true answers.

`python -m eval.stream_world sample --seed 2003 --out app/assets` writes the stream of the demo.
2003 is the first seed from 2000 on whose stream is varied: at least 10 objects, 4 scenes and a
sign, 3 changes of colour, and objects in view nine tenths of the time.
"""

import json
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from random import Random

from eval.stream_world.history import History
from eval.stream_world.questions import Question, ask
from eval.stream_world.scoring import TIME_TOLERANCE_S
from eval.stream_world.script import Script, write_script
from eval.stream_world.video import write_video
from eval.stream_world.vocabulary import clock, parse_clock, with_article

PLAN = (
    (0.15, "exist", "do you see {a}?"),
    (0.25, "color", "what color is the {n}?"),
    (0.35, "where", "where is the {n}?"),
    (0.45, "list", "what do you see now?"),
    (0.55, "seen_yet", "have you seen {a}?"),
    (0.65, "color_first", "what color was the {n} when it first appeared?"),
    (0.75, "when_first", "when did the {n} first appear?"),
    (0.82, "order", "which appeared first, the {n} or the {m}?"),
    (0.9, "sign_past", "what number was on the sign?"),
    (0.97, "count_times", "how many times has the {n} appeared?"),
)
"""When each kind of question comes, as a fraction of the stream, and its wording."""
SEARCH_S = 12
"""How long to look for a moment about which that kind can ask."""


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
    """Return the plan's questions that the stream offers, in the order of asking."""
    rng, history = Random(script.seed), History.of(script)
    questions = []
    for part, kind, wording in PLAN:
        start = int(part * len(script.moments))
        for now in range(start, min(start + SEARCH_S, len(script.moments))):
            question = ask(kind, history.until(now), rng)
            if question is not None:
                name, other = (*question.names, "", "")[:2]
                text = wording.format(n=name, m=other, a=with_article(name) if name else "")
                questions.append(replace(question, text=text))
                break
    return questions


def _accepted(question: Question) -> list[str]:
    """Return every accepted answer: lists in any order, approximate times, phrasings from spans."""
    if question.kind == "count_times":
        times = {"0": "never", "1": "once"}.get(question.answer, f"{question.answer} times")
        return [question.answer, times]
    if question.kind == "order":
        return [question.answer, f"{question.answer} came first"]
    time_s = parse_clock(question.answer)
    if time_s is not None:
        around = range(max(0, time_s - TIME_TOLERANCE_S), time_s + TIME_TOLERANCE_S + 1)
        return [question.answer.replace(clock(time_s), clock(near_s)) for near_s in around]
    return sorted(", ".join(parts) for parts in permutations(question.answer.split(", ")))


def _entry(question: Question) -> dict[str, object]:
    return {
        "asked_s": question.asked_s,
        "kind": question.kind,
        "question": question.text,
        "names": question.names,
        "answer": question.answer,
        "accepted": _accepted(question),
        "evidence_s": [[span.start_s, span.end_s] for span in question.evidence],
    }
