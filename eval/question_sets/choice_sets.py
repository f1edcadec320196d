"""Mlvu, QaEgo4d and VideoMme: multiple choice about whole videos, asked when the video has ended.

MLVU: Zhou et al. (CVPR 2025, arXiv 2406.04264); the choice tasks of its development set, files,
prompt and rule of github.com/JUNJIE99/MLVU at fd060c1, evaluation/multiple_choice_evaluation. The
answer continues "Best Option: (". The published rule takes the character before the first ")", else
the whole answer. If an option appears twice, only the last is right under it, and if the true
answer is no option, nothing is; the strict rule accepts either of two equal options.

QAEgo4D: Baermann and Waibel, Where did I leave my keys? (CVPR Workshops 2022); choices, prompt and
rule of ReKV (arXiv 2503.00540), github.com/Becomebright/ReKV at 63793f7. The answer continues "Best
option: (". The published rule takes the character before the first ")", else the first one; an
empty answer stops the authors' run and is wrong here.

Video-MME: Fu et al. (CVPR 2025, arXiv 2405.21075); the prompt without subtitles of
github.com/BradyFU/Video-MME at 8889f31, and the rule of the evaluation script it names, from copies
of that script. The data set is one parquet file, read as JSON lines; it does not state the length
of a video. The published rule removes some phrases that start an answer (two of them only if
adjacent: commas are missing in the script) and takes the first capital from A to D, wherever it is:
"Because" is B. An answer without one is left out of the mean.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eval.play.plays import Prompt
from eval.question_sets.benchmark import Benchmark, scored_choice
from eval.question_sets.data_files import Reader, video_in
from eval.question_sets.items import Outcome, Row, SetItem, of_group, of_task, score_row
from eval.question_sets.published import published

_MLVU_FOLDERS = {
    "count": "4_count",
    "ego": "3_ego",
    "needle": "2_needle",
    "order": "5_order",
    "plotQA": "1_plotQA",
    "anomaly_reco": "6_anomaly_reco",
    "topic_reasoning": "7_topic_reasoning",
}
_NO_OPTION = "@"
"""The letter before A: the authors' counting yields it for an answer that is no option."""
_MME_DURATIONS = ("short", "medium", "long")
_MME_TASKS = (
    *("Temporal Perception", "Spatial Perception", "Attribute Perception", "Action Recognition"),
    *("Object Recognition", "OCR Problems", "Counting Problem", "Temporal Reasoning"),
    *("Spatial Reasoning", "Action Reasoning", "Object Reasoning", "Information Synopsis"),
)
_MME_TAKEN_AWAY = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)


class Mlvu(Benchmark):
    """The data directory is the data set's `MLVU`, which contains `json` and `video`."""

    name = "mlvu"
    published = "huggingface.co/datasets/MLVU/MVLU"
    tasks = tuple(_MLVU_FOLDERS)

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {f"json/{_MLVU_FOLDERS[task]}.json": partial(_mlvu, task) for task in tasks}

    def prompt(self, item: SetItem) -> Prompt:
        text = f"{_with_options(item).rstrip()}\nOnly give the best option."
        return Prompt(text, published("mlvu_system"), "Best Option: (")

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        if not text:
            return Outcome(item, 0.0, 0.0, "no answer")
        options = {chr(65 + n): option for n, option in enumerate(item.options)}
        right = [letter for letter, one in options.items() if one == options.get(item.answer)]
        return scored_choice(item, text, _before_bracket(text, text) == item.answer, right)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """M-Avg is the mean of the tasks."""
        groups = {task: of_task(outcomes, task) for task in _MLVU_FOLDERS}
        rows = [score_row(task, group) for task, group in groups.items()]
        return (*rows, score_row("M-Avg", *groups.values()))


class QaEgo4d(Benchmark):
    """The data directory is ReKV's `data/qaego4d`."""

    name = "qaego4d"
    published = "huggingface.co/datasets/Becomebright/QAEgo4D-MC-test"
    tasks = ("QAEgo4D",)

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {"test_mc.json": _qaego4d}

    def prompt(self, item: SetItem) -> Prompt:
        text = f"{_with_options(item)}\nOnly give the best option."
        return Prompt(text, answer_start="Best option: (")

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        text = (text or "").strip()
        if not text:
            return Outcome(item, 0.0, 0.0, "no answer")
        return scored_choice(item, text, _before_bracket(text, text[0]) == item.answer)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        return (score_row("Accuracy", outcomes),)


class VideoMme(Benchmark):
    name = "video-mme"
    published = (
        "huggingface.co/datasets/lmms-lab/Video-MME as videomme/test-00000-of-00001.parquet, "
        "which pandas (with pyarrow) turns into JSON lines: "
        'read_parquet(...).to_json(..., orient="records", lines=True)'
    )
    tasks = _MME_TASKS

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {"videomme/test-00000-of-00001.jsonl": _video_mme}

    def prompt(self, item: SetItem) -> Prompt:
        lines = (published("video_mme"), item.question, *item.options, "The best answer is:")
        return Prompt("\n".join(lines))

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        rest = text or ""
        for phrase in _MME_TAKEN_AWAY:
            rest = rest.replace(phrase, "")
        found = re.search("[ABCD]", rest)
        return scored_choice(item, text or "", found[0] == item.answer if found else None)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """Pool by question."""
        durations = [score_row(name, of_group(outcomes, name)) for name in _MME_DURATIONS]
        tasks = [score_row(task, of_task(outcomes, task)) for task in _MME_TASKS]
        return (*tasks, *durations, score_row("Overall", outcomes))


def _with_options(item: SetItem) -> str:
    options = "\n".join(f"({chr(65 + n)}) {option}" for n, option in enumerate(item.options))
    return f"Question: {item.question}\nOptions:\n{options}"


def _before_bracket(text: str, otherwise: str) -> str:
    end = text.find(")")
    return otherwise if end < 0 else text[max(0, end - 1) : end]


def _mlvu(task: str, number: int, entry: dict[str, Any]) -> Iterator[SetItem]:
    options = tuple(entry["candidates"])
    places = [n for n, option in enumerate(options) if option == entry["answer"]]
    yield SetItem(
        id=f"{task}-{number}",
        video_id=entry["video"],
        video=f"video/{_MLVU_FOLDERS[task]}/{entry['video']}",
        task=task,
        question=entry["question"],
        options=options,
        answer=chr(65 + places[-1]) if places else _NO_OPTION,
        asked_s=float(entry["duration"]),
    )


def _qaego4d(_: int, entry: dict[str, Any]) -> Iterator[SetItem]:
    for n, turn in enumerate(entry["conversations"]):
        yield SetItem(
            id=f"{entry['video_id']}_{n}",
            video_id=str(entry["video_id"]),
            video=video_in("qaego4d", entry["video_path"]),
            task="QAEgo4D",
            question=turn["question"],
            options=tuple(turn["choices"]),
            answer=chr(65 + turn["choices"].index(turn["answer"])),
            asked_s=float(entry["duration"]),
        )


def _video_mme(_: int, entry: dict[str, Any]) -> Iterator[SetItem]:
    yield SetItem(
        id=entry["question_id"],
        video_id=entry["video_id"],
        video=f"data/{entry['videoID']}.mp4",
        task=entry["task_type"],
        group=entry["duration"],
        question=entry["question"],
        options=tuple(entry["options"]),
        answer=entry["answer"],
        asked_s=math.inf,
    )
