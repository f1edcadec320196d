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

from eval.play.asked import Prompt
from eval.question_sets.benchmark import Benchmark, scored_choice
from eval.question_sets.data_files import Reader
from eval.question_sets.items import Outcome, Row, SetItem, of_task, score_row

CATEGORIES = {
    "Backward Tracing": ("EPM", "ASI", "HLD"),
    "Real-Time Visual Perception": ("OCR", "ACR", "ATR", "STU", "FPD", "OJR"),
    "Forward Active Responding": ("REC", "SSR", "CRR"),
}
_TASKS = tuple(task for tasks in CATEGORIES.values() for task in tasks)
_FORWARD = CATEGORIES["Forward Active Responding"]
_GROUPS = {task: group for group, tasks in CATEGORIES.items() for task in tasks}

_CHOICE = """
Question: {}
Options:
{}

Respond only with the letter corresponding to your chosen option (e.g., A, B, C).\x20
Do not include any additional text or explanation in your response.
"""
_COUNT = """
You're watching a video in which people may perform a certain type of action repetively.\x20
The person performing this kind of action are referred to as 'they' in the following statement.
You're task is to count how many times have different people in the video perform this kind of \
action in total.
One complete motion counts as one.\x20
Now, answer the following question: {}
Provide your answer as a single number (e.g., 0, 1, 2, 3…) indicating the total count.
Do not include any additional text or explanation in your response.
"""
_STEP = """
You're watching a tutorial video which contain a sequential of steps.\x20
The following is one step from the whole procedures:\x20
{}
Your task is to determine if the man or woman in the video is currently performing this step.
Answer only with “Yes” or “No”.
Do not include any additional text or explanation in your response.
"""
_ENOUGH = """
You're responsible of answering questions based on the video content.\x20
The following question are relevant to the latest frames, i.e. the end of the video.
{}
Decide whether existing visual content, especially latest frames, i.e. frames that near the end of \
the video, provide enough information for answering the question.
Answer only with “Yes” or “No”.
Do not include any additional text or explanation in your response.
"""
_FORWARD_PROMPTS = {"REC": _COUNT, "SSR": _STEP, "CRR": _ENOUGH}


class OvoBench(Benchmark):
    """All twelve tasks; the data directory is the authors' `data`."""

    name = "ovo-bench"
    published = "huggingface.co/datasets/JoeLeelyf/OVO-Bench and github.com/JoeLeelyf/OVO-Bench"
    tasks = _TASKS

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {"ovo_bench_new.json": _items}

    def prompt(self, item: SetItem) -> Prompt:
        if item.task in _FORWARD:
            return Prompt(_FORWARD_PROMPTS[item.task].format(item.question))
        letters = (f"{chr(65 + n)}. {option}" for n, option in enumerate(item.options))
        return Prompt(_CHOICE.format(item.question, "; ".join(letters) + ";"))

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
