"""OvoBench: questions at moments of a video, some of them put repeatedly.

Source: Li et al., OVO-Bench (CVPR 2025, arXiv 2501.05510); files, prompts and scorer of
github.com/JoeLeelyf/OVO-Bench at c34093f. A forward question is put at several moments; each of
these probes is an item, named like the authors' clips: `<id>_<probe>`. A question sees the video
from its start to `realtime`. The authors' clips end at the next whole second; here no frame after
`realtime` is seen.

The published rule looks for the letter, or for Yes or No, anywhere in the answer, and joins all
digits of a count: "ABCD" and "Yes No" are always right, "1 or 2" is 12. A failed answer is wrong; a
question missing from the results is left out of the mean. The strict rule counts all questions and
requires one letter, number or word.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.play.plays import Prompt
from eval.question_sets.benchmark import Benchmark, scored_choice
from eval.question_sets.data_files import Reader
from eval.question_sets.items import Outcome, Row, SetItem, of_task, score_row
from eval.question_sets.published import published

CATEGORIES = {
    "Backward Tracing": ("EPM", "ASI", "HLD"),
    "Real-Time Visual Perception": ("OCR", "ACR", "ATR", "STU", "FPD", "OJR"),
    "Forward Active Responding": ("REC", "SSR", "CRR"),
}
_TASKS = tuple(task for tasks in CATEGORIES.values() for task in tasks)
_FORWARD = CATEGORIES["Forward Active Responding"]
_GROUPS = {task: group for group, tasks in CATEGORIES.items() for task in tasks}
_FORWARD_PROMPTS = {"REC": "ovo_count", "SSR": "ovo_step", "CRR": "ovo_enough"}


class OvoBench(Benchmark):
    """All twelve tasks; the data directory is the authors' `data`."""

    name = "ovo-bench"
    published = "huggingface.co/datasets/JoeLeelyf/OVO-Bench and github.com/JoeLeelyf/OVO-Bench"
    tasks = _TASKS

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {"ovo_bench_new.json": _items}

    def prompt(self, item: SetItem) -> Prompt:
        if item.task in _FORWARD:
            return Prompt(published(_FORWARD_PROMPTS[item.task], item.question))
        letters = (f"{chr(65 + n)}. {option}" for n, option in enumerate(item.options))
        return Prompt(published("ovo_choice", item.question, "; ".join(letters) + ";"))

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        if text is None or not text.strip():
            return Outcome(item, 0.0, 0.0, "no answer")
        if item.task == "REC":
            return _scored_count(item, text)
        if item.task in _FORWARD:
            return _scored_word(item, text)
        return scored_choice(item, text, item.answer in text)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """A category is the mean of its tasks, the total the mean of the three categories."""
        by_task = {task: of_task(outcomes, task) for task in _TASKS}
        rows = [score_row(task, group) for task, group in by_task.items()]
        for name, tasks in CATEGORIES.items():
            rows.append(score_row(name, *(by_task[task] for task in tasks)))
        weights = [1 / len(CATEGORIES) / len(CATEGORIES[_GROUPS[task]]) for task in _TASKS]
        return (*rows, score_row("Total", *by_task.values(), weights=weights))


def _items(_: int, entry: dict[str, Any]) -> Iterator[SetItem]:
    task = entry["task"]
    probes = entry["test_info"] if task in _FORWARD else [entry]
    for n, probe in enumerate(probes):
        yield SetItem(
            id=f"{entry['id']}_{n}" if task in _FORWARD else str(entry["id"]),
            video_id=entry["video"],
            video=f"src_videos/{entry['video']}",
            task=task,
            group=_GROUPS[task],
            question=_question(task, entry, probe),
            options=() if task in _FORWARD else tuple(entry["options"]),
            answer=_answer(task, probe),
            asked_s=float(probe["realtime"]),
        )


def _question(task: str, entry: dict[str, Any], probe: dict[str, Any]) -> str:
    if task == "REC":
        return f"How many times did they {entry['activity']}?"
    return str(probe["step"] if task == "SSR" else entry["question"])


def _answer(task: str, probe: dict[str, Any]) -> str:
    if task == "REC":
        return str(probe["count"])
    return ("No", "Yes")[probe["type"]] if task in _FORWARD else chr(65 + probe["gt"])


def _scored_count(item: SetItem, text: str) -> Outcome:
    runs = re.findall(r"\d+", text)
    is_right = len(runs) == 1 and len(runs[0]) < 10 and int(runs[0]) == int(item.answer)
    oddity = "" if len(runs) == 1 else "not one number"
    return Outcome(item, float("".join(runs) == item.answer), float(is_right), oddity)


def _scored_word(item: SetItem, text: str) -> Outcome:
    words = set(re.findall(r"\w+", text.lower())) & {"yes", "y", "no", "n"}
    given = {word[0] for word in words}
    is_found = text == item.answer[0] or item.answer in text
    oddity = "" if len(given) == 1 else "not one of yes and no"
    return Outcome(item, float(is_found), float(given == {item.answer[0].lower()}), oddity)
