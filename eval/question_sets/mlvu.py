"""MLVU: the choice tasks of its development set in, questions about long videos and M-Avg out.

Source: Zhou et al., MLVU (CVPR 2025, arXiv 2406.04264); files, prompt and rule of
github.com/JUNJIE99/MLVU at fd060c1, evaluation/multiple_choice_evaluation. A question follows the
whole video. The answer goes on after "Best Option: (".

The published rule takes the character before the first ")", else the whole answer. Where an option
stands twice only the last one is right to it, and where the true answer is no option nothing is;
the strict rule takes either of two equal options.
"""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import read_annotations, read_entries, require_tasks
from eval.question_sets.option_letter import only_letter
from eval.question_sets.score_rows import of_task, score_row
from eval.question_sets.table import Row

PUBLISHED = "huggingface.co/datasets/MLVU/MVLU"
_FOLDERS = {
    "count": "4_count",
    "ego": "3_ego",
    "needle": "2_needle",
    "order": "5_order",
    "plotQA": "1_plotQA",
    "anomaly_reco": "6_anomaly_reco",
    "topic_reasoning": "7_topic_reasoning",
}
_SYSTEM = (
    "Carefully watch this video and pay attention to every detail. Based on your observations, "
    "select the best option that accurately addresses the question."
)
_NO_OPTION = "@"
"""The letter before A: what the authors' counting makes of an answer that is no option."""


class Mlvu:
    """The data directory is the `MLVU` of the data set, with `json` and `video` in it."""

    name = "mlvu"
    published = PUBLISHED

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        require_tasks(tasks, tuple(_FOLDERS))
        files = {f"json/{_FOLDERS[task]}.json": task for task in tasks or _FOLDERS}
        documents = read_annotations(data_dir, list(files), PUBLISHED)
        items: list[Item] = []
        for (file, task), document in zip(files.items(), documents, strict=True):
            items += read_entries(file, document, partial(_item, task))
        return items

    def prompt(self, item: Item) -> Prompt:
        options = "\n".join(f"({chr(65 + n)}) {option}" for n, option in enumerate(item.options))
        text = f"Question: {item.question}\nOptions:\n{options}".rstrip()
        return Prompt(f"{text}\nOnly give the best option.", _SYSTEM, "Best Option: (")

    def follow_up(self, item: Item, text: str | None) -> None:
        return None

    def score(self, item: Item, texts: Texts) -> Outcome:
        if not texts:
            return Outcome(item, None, 0.0, "not asked")
        text = texts[0]
        if not text:
            return Outcome(item, 0.0, 0.0, "no answer")
        end = text.find(")")
        said = text if end < 0 else text[max(0, end - 1) : end]
        letter = only_letter(text, len(item.options))
        return Outcome(
            item,
            float(said == item.answer),
            float(letter in _right_letters(item)),
            "" if letter else "not one letter",
        )

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """M-Avg is the mean of the tasks."""
        groups = [of_task(outcomes, task) for task in _FOLDERS]
        rows = [score_row(task, group) for task, group in zip(_FOLDERS, groups, strict=True)]
        return (*rows, score_row("M-Avg", *groups))


def _item(task: str, number: int, entry: dict[str, Any]) -> Item:
    options = tuple(entry["candidates"])
    places = [n for n, option in enumerate(options) if option == entry["answer"]]
    return Item(
        id=f"{task}-{number}",
        video_id=entry["video"],
        video=f"video/{_FOLDERS[task]}/{entry['video']}",
        task=task,
        question=entry["question"],
        options=options,
        answer=chr(65 + places[-1]) if places else _NO_OPTION,
        asked_s=float(entry["duration"]),
    )


def _right_letters(item: Item) -> list[str]:
    if item.answer == _NO_OPTION:
        return []
    truth = item.options[ord(item.answer) - 65]
    return [chr(65 + n) for n, option in enumerate(item.options) if option == truth]
