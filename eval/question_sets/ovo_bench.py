"""OVO-Bench: its annotations in, questions at moments of a video and the published scores out.

Source: Li et al., OVO-Bench (CVPR 2025, arXiv 2501.05510); files, prompts and scorer of
github.com/JoeLeelyf/OVO-Bench at c34093f. A forward question is put anew at several moments; each
of these probes is an item, named as the clips of the authors are: `<id>_<probe>`. A question sees
the video from its start to `realtime`. The authors' clips end at the next whole second; here no
frame after `realtime` is seen.

The published rule looks for the letter, or for Yes or No, anywhere in the answer, and joins all
digits of a count: "ABCD" and "Yes No" are always right, "1 or 2" is 12. An answer that failed is
wrong, a question that is not in the results at all is left out of the mean. The strict rule counts
all questions and wants one letter, number or word.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import read_annotations, read_entries, require_tasks, wanted
from eval.question_sets.option_letter import only_letter
from eval.question_sets.score_rows import of_task, score_row, weighted_row
from eval.question_sets.table import Row

PUBLISHED = "huggingface.co/datasets/JoeLeelyf/OVO-Bench and github.com/JoeLeelyf/OVO-Bench"
ANNOTATIONS = "ovo_bench_new.json"
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


class OvoBench:
    """All twelve tasks; the data directory is the authors' `data`."""

    name = "ovo-bench"
    published = PUBLISHED

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        require_tasks(tasks, _TASKS)
        [entries] = read_annotations(data_dir, [ANNOTATIONS], PUBLISHED)
        items = read_entries(ANNOTATIONS, entries, _items)
        return list(wanted((item for found in items for item in found), tasks))

    def prompt(self, item: Item) -> Prompt:
        if item.task in _FORWARD:
            return Prompt(_FORWARD_PROMPTS[item.task].format(item.question))
        letters = (f"{chr(65 + n)}. {option}" for n, option in enumerate(item.options))
        return Prompt(_CHOICE.format(item.question, "; ".join(letters) + ";"))

    def follow_up(self, item: Item, text: str | None) -> None:
        return None

    def score(self, item: Item, texts: Texts) -> Outcome:
        if not texts:
            return Outcome(item, None, 0.0, "not asked")
        text = texts[0]
        if text is None or not text.strip():
            return Outcome(item, 0.0, 0.0, "no answer")
        if item.task == "REC":
            return _scored_count(item, text)
        if item.task in _FORWARD:
            return _scored_word(item, text)
        letter = only_letter(text, len(item.options))
        oddity = "" if letter else "not one letter"
        return Outcome(item, float(item.answer in text), float(letter == item.answer), oddity)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """A category is the mean of its tasks, the total the mean of the three categories."""
        by_task = {task: of_task(outcomes, task) for task in _TASKS}
        rows = [score_row(task, by_task[task]) for task in _TASKS]
        for name, tasks in CATEGORIES.items():
            rows.append(score_row(name, *(by_task[task] for task in tasks)))
        return (*rows, _total(by_task))


def _total(by_task: dict[str, list[Outcome]]) -> Row:
    return weighted_row(
        "Total",
        [
            (1 / len(CATEGORIES) / len(tasks), by_task[task])
            for tasks in CATEGORIES.values()
            for task in tasks
        ],
    )


def _items(_: int, entry: dict[str, Any]) -> list[Item]:
    """One item, or one for each probe of a forward question."""
    task = entry["task"]
    if task not in _FORWARD:
        return [
            _item(
                entry,
                str(entry["id"]),
                float(entry["realtime"]),
                question=entry["question"],
                options=tuple(entry["options"]),
                answer=chr(65 + entry["gt"]),
            )
        ]
    return [
        _item(
            entry,
            f"{entry['id']}_{n}",
            float(probe["realtime"]),
            question=_forward_question(entry, probe),
            options=(),
            answer=str(probe["count"]) if task == "REC" else ("No", "Yes")[probe["type"]],
        )
        for n, probe in enumerate(entry["test_info"])
    ]


def _item(
    entry: dict[str, Any],
    name: str,
    asked_s: float,
    question: str,
    options: tuple[str, ...],
    answer: str,
) -> Item:
    return Item(
        id=name,
        video_id=entry["video"],
        video=f"src_videos/{entry['video']}",
        task=entry["task"],
        group=_GROUPS[entry["task"]],
        question=question,
        options=options,
        answer=answer,
        asked_s=asked_s,
    )


def _forward_question(entry: dict[str, Any], probe: dict[str, Any]) -> str:
    if entry["task"] == "REC":
        return f"How many times did they {entry['activity']}?"
    question: str = probe["step"] if entry["task"] == "SSR" else entry["question"]
    return question


def _scored_count(item: Item, text: str) -> Outcome:
    runs = re.findall(r"\d+", text)
    is_right = len(runs) == 1 and len(runs[0]) < 10 and int(runs[0]) == int(item.answer)
    oddity = "" if len(runs) == 1 else "not one number"
    return Outcome(item, float("".join(runs) == item.answer), float(is_right), oddity)


def _scored_word(item: Item, text: str) -> Outcome:
    words = set(re.findall(r"\w+", text.lower())) & {"yes", "y", "no", "n"}
    said = {word[0] for word in words}
    is_found = text == item.answer[0] or item.answer in text
    oddity = "" if len(said) == 1 else "not one of yes and no"
    return Outcome(item, float(is_found), float(said == {item.answer[0].lower()}), oddity)
