"""Video-MME: its questions in, choices about short, medium and long videos and their scores out.

Source: Fu et al., Video-MME (CVPR 2025, arXiv 2405.21075); the prompt without subtitles of
github.com/BradyFU/Video-MME at 8889f31, the rule of the evaluation script that it names, as copies
of it have it. The data set is one parquet file, which is read as JSON lines. A question follows the
whole video, whose length the set does not give.

The published rule takes away some phrases that begin an answer (two of them only if they stand
together: commas are missing in the script) and takes the first of the capitals A to D, wherever it
stands: "Because" is B. An answer without one is left out of the mean.
"""

import math
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import (
    read_entries,
    read_json_lines,
    require_files,
    require_tasks,
    wanted,
)
from eval.question_sets.option_letter import only_letter
from eval.question_sets.score_rows import of_group, of_task, score_row
from eval.question_sets.table import Row

ANNOTATIONS = "videomme/test-00000-of-00001.jsonl"
PUBLISHED = (
    "huggingface.co/datasets/lmms-lab/Video-MME as videomme/test-00000-of-00001.parquet, which "
    'pandas (with pyarrow) turns into JSON lines: read_parquet(...).to_json(..., orient="records", '
    "lines=True)"
)
_DURATIONS = ("short", "medium", "long")
_TASKS = (
    "Temporal Perception",
    "Spatial Perception",
    "Attribute Perception",
    "Action Recognition",
    "Object Recognition",
    "OCR Problems",
    "Counting Problem",
    "Temporal Reasoning",
    "Spatial Reasoning",
    "Action Reasoning",
    "Object Reasoning",
    "Information Synopsis",
)
_INSTRUCTION = (
    "Select the best answer to the following multiple-choice question based on the video. Respond "
    "with only the letter (A, B, C, or D) of the correct option."
)
_TAKEN_AWAY = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option isThe correct option is",
    "Best answer:Best option:",
)


class VideoMme:
    """Without subtitles."""

    name = "video-mme"
    published = PUBLISHED

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        require_tasks(tasks, _TASKS)
        require_files(data_dir, [ANNOTATIONS], PUBLISHED)
        entries = read_json_lines(data_dir / ANNOTATIONS)
        return list(wanted(read_entries(ANNOTATIONS, entries, _item), tasks))

    def prompt(self, item: Item) -> Prompt:
        lines = (_INSTRUCTION, item.question, *item.options, "The best answer is:")
        return Prompt("\n".join(lines))

    def follow_up(self, item: Item, text: str | None) -> None:
        return None

    def score(self, item: Item, texts: Texts) -> Outcome:
        if not texts:
            return Outcome(item, None, 0.0, "not asked")
        text = texts[0] or ""
        said = _published_letter(text)
        letter = only_letter(text, len(item.options))
        oddity = "" if letter else "not one letter" if text else "no answer"
        published = float(said == item.answer) if said else None
        return Outcome(item, published, float(letter == item.answer), oddity)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """Pooled by question."""
        durations = [score_row(name, of_group(outcomes, name)) for name in _DURATIONS]
        tasks = [score_row(task, of_task(outcomes, task)) for task in _TASKS]
        return (*tasks, *durations, score_row("Overall", outcomes))


def _published_letter(text: str) -> str:
    for phrase in _TAKEN_AWAY:
        text = text.replace(phrase, "")
    found = re.search("[ABCD]", text)
    return found[0] if found else ""


def _item(_: int, entry: dict[str, Any]) -> Item:
    return Item(
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
