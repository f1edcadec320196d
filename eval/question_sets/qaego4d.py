"""QAEgo4D: the choices of its test set in, questions about long videos and their score out.

Source: Baermann and Waibel, Where did I leave my keys? (CVPR Workshops 2022); choices, prompt and
rule of ReKV (arXiv 2503.00540), github.com/Becomebright/ReKV at 63793f7. A question follows the
whole video. The answer goes on after "Best option: (".

The published rule takes the character before the first ")", else the first one; an empty answer
stops the authors' run and is wrong here.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import read_annotations, read_entries, require_tasks
from eval.question_sets.option_letter import only_letter
from eval.question_sets.rekv_files import video_in
from eval.question_sets.score_rows import score_row
from eval.question_sets.table import Row

PUBLISHED = "huggingface.co/datasets/Becomebright/QAEgo4D-MC-test"
ANNOTATIONS = "test_mc.json"
_TASK = "QAEgo4D"


class QaEgo4d:
    """The data directory is ReKV's `data/qaego4d`."""

    name = "qaego4d"
    published = PUBLISHED

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        require_tasks(tasks, (_TASK,))
        [entries] = read_annotations(data_dir, [ANNOTATIONS], PUBLISHED)
        items = read_entries(ANNOTATIONS, entries, _items)
        return [item for found in items for item in found]

    def prompt(self, item: Item) -> Prompt:
        options = "\n".join(f"({chr(65 + n)}) {option}" for n, option in enumerate(item.options))
        text = f"Question: {item.question}\nOptions:\n{options}\nOnly give the best option."
        return Prompt(text, answer_start="Best option: (")

    def follow_up(self, item: Item, text: str | None) -> None:
        return None

    def score(self, item: Item, texts: Texts) -> Outcome:
        if not texts:
            return Outcome(item, None, 0.0, "not asked")
        text = (texts[0] or "").strip()
        if not text:
            return Outcome(item, 0.0, 0.0, "no answer")
        end = text.find(")")
        said = text[0] if end < 0 else text[max(0, end - 1) : end]
        letter = only_letter(text, len(item.options))
        oddity = "" if letter else "not one letter"
        return Outcome(item, float(said == item.answer), float(letter == item.answer), oddity)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        return (score_row("Accuracy", outcomes),)


def _items(_: int, entry: dict[str, Any]) -> list[Item]:
    return [
        Item(
            id=f"{entry['video_id']}_{n}",
            video_id=str(entry["video_id"]),
            video=video_in("qaego4d", entry["video_path"]),
            task=_TASK,
            question=turn["question"],
            options=tuple(turn["choices"]),
            answer=chr(65 + turn["choices"].index(turn["answer"])),
            asked_s=float(entry["duration"]),
        )
        for n, turn in enumerate(entry["conversations"])
    ]
