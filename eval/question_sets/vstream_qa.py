"""VStream-QA: its annotations in, open questions about streams and the judged scores out.

Source: Zhang et al., Flash-VStream (arXiv 2406.08085), data set IVGSZ/VStream-QA. VS-Ego and
VS-Movie ask about a whole clip, at its end. RVS-Ego and RVS-Movie ask while a long video plays;
they are read in the files of ReKV (arXiv 2503.00540), where a question sees the video from its
start to `end_time`, and no earlier question or answer. The prompt is the question.

Answers are judged (judge.py), their line ends taken out as ReKV does. Two accuracies are published:
Flash-VStream's, yes / all that were judged, and ReKV's, yes / (yes + no). The score is the mean of
the whole parts of the ratings. What the judge could not say readably is left out of all three, as
it was there, and is wrong by the strict rule; so is a question without a text to judge, because
answering failed. A blank text is an answer and is judged, as it is there: silence is not left out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.clustered_error import Part
from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import read_annotations, read_entries, require_tasks, wanted
from eval.question_sets.judging import Judged, Judging
from eval.question_sets.rekv_files import video_in
from eval.question_sets.score_rows import of_task, score_row
from eval.question_sets.table import Row, figure, marks_of
from vstream import SettingsError

OPEN = "open"
"""The task of questions whose file names no type."""


@dataclass(frozen=True)
class _Subset:
    file: str
    videos: str
    published: str
    is_realtime: bool


SUBSETS = {
    "vs-ego": _Subset(
        "vstream/test_qa_ego4d.json",
        "vstream/ego4d_videos",
        "huggingface.co/datasets/IVGSZ/VStream-QA",
        is_realtime=False,
    ),
    "vs-movie": _Subset(
        "vstream/test_qa_movienet.json",
        "vstream/movienet_videos",
        "huggingface.co/datasets/IVGSZ/VStream-QA",
        is_realtime=False,
    ),
    "rvs-ego": _Subset(
        "ego/ego4d_oe.json",
        "ego/videos",
        "huggingface.co/datasets/Becomebright/RVS",
        is_realtime=True,
    ),
    "rvs-movie": _Subset(
        "movie/movienet_oe.json",
        "movie/videos",
        "huggingface.co/datasets/Becomebright/RVS",
        is_realtime=True,
    ),
}


@dataclass(frozen=True)
class JudgedOutcome(Outcome):
    """`judged` is None if there was no answer to judge."""

    judged: Judged | None = None


class VStreamQa:
    """One of the four subsets. The data directory is the data set's, or ReKV's `data/rvs`."""

    def __init__(self, name: str, judging: Judging | None = None) -> None:
        """Without `judging` nothing can be scored."""
        self.name = name
        self._subset = SUBSETS[name]
        self.published = self._subset.published
        self._judging = judging

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        file = self._subset.file
        [entries] = read_annotations(data_dir, [file], self._subset.published)
        if self._subset.is_realtime:
            items = [i for found in read_entries(file, entries, self._turns) for i in found]
        else:
            items = read_entries(file, entries, self._clip)
        require_tasks(tasks, sorted({item.task for item in items}))
        return list(wanted(_numbered(items), tasks))

    def prompt(self, item: Item) -> Prompt:
        return Prompt(item.question)

    def follow_up(self, item: Item, text: str | None) -> None:
        return None

    def score(self, item: Item, texts: Texts) -> JudgedOutcome:
        """Raises SettingsError without a judge."""
        if self._judging is None:
            raise SettingsError(f"judge: {self.name} has open answers; name a model with --judge")
        if not texts:
            return JudgedOutcome(item, None, 0.0, "not asked")
        text = texts[0]
        if text is None:
            return JudgedOutcome(item, None, 0.0, "no answer")
        judged = self._judging.judge_answer(item.question, item.answer, text.replace("\n", ""))
        if judged.judgement is None:
            return JudgedOutcome(item, None, 0.0, "unreadable judgement", judged)
        is_right = float(judged.judgement.is_yes is True)
        oddity = "judged neither yes nor no" if judged.judgement.is_yes is None else ""
        return JudgedOutcome(item, is_right, is_right, oddity, judged)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """Both accuracies and the score over all, then Flash-VStream's accuracy by type."""
        judged = [o for o in outcomes if isinstance(o, JudgedOutcome)]
        said = [o for o in judged if o.judged and o.judged.judgement]
        decided = [o for o in said if not o.oddity]
        tasks = sorted({outcome.item.task for outcome in outcomes})
        whole = score_row("Accuracy (Flash-VStream: yes / judged)", outcomes)
        of_decided = score_row("", decided).published
        return (
            whole,
            Row("Accuracy (ReKV: yes / (yes + no))", of_decided, whole.strict),
            _rating_row(judged),
            *(score_row(f"Accuracy, {task}", of_task(outcomes, task)) for task in tasks),
        )

    def _clip(self, number: int, entry: dict[str, Any]) -> Item:
        video = str(entry["video_id"])
        return Item(
            id=video,
            video_id=video,
            video=f"{self._subset.videos}/{video}.mp4",
            task=str(entry.get("answer_type", OPEN)),
            question=entry["question"],
            answer=entry["answer"],
            asked_s=float(entry["duration"]),
        )

    def _turns(self, number: int, entry: dict[str, Any]) -> list[Item]:
        video = str(entry["video_id"])
        return [
            Item(
                id=video,
                video_id=video,
                video=video_in("rvs", entry["video_path"]),
                task=str(turn.get("answer_type", OPEN)),
                question=turn["question"],
                answer=turn["answer"],
                asked_s=float(turn["end_time"]),
            )
            for turn in entry["conversations"]
        ]


def _numbered(items: Sequence[Item]) -> list[Item]:
    """Named as both authors name them: the video and the number of the question about it."""
    seen: dict[str, int] = {}
    named = []
    for item in items:
        number = seen.get(item.video_id, 0)
        seen[item.video_id] = number + 1
        named.append(replace(item, id=f"{item.video_id}_{number}"))
    return named


def _rating_row(outcomes: Sequence[JudgedOutcome]) -> Row:
    """By the strict rule, what could not be judged has a rating of 0."""
    ratings = [(o.item.video_id, _rating(o)) for o in outcomes]
    published = figure([Part(1.0, marks_of(ratings))], scale=1.0)
    strict = figure([Part(1.0, marks_of([(v, r or 0.0) for v, r in ratings]))], scale=1.0)
    return Row("Score", published, strict, "0 to 5")


def _rating(outcome: JudgedOutcome) -> float | None:
    judged = outcome.judged
    return None if judged is None or judged.judgement is None else float(judged.judgement.rating)
