"""VStreamQa: open questions about streams, whose answers a language model judges.

Source: Zhang et al., Flash-VStream (arXiv 2406.08085), data set IVGSZ/VStream-QA. VS-Ego and
VS-Movie ask about a whole clip, at its end. RVS-Ego and RVS-Movie ask while a long video plays;
their files are ReKV's (arXiv 2503.00540), where a question sees the video from its start to
`end_time`, and no earlier question or answer. The prompt is the question.

Answers are judged (judging.py) after removing their line breaks, as ReKV does. Two accuracies are
published: Flash-VStream's, yes / all judged, and ReKV's, yes / (yes + no). The score is the mean of
the ratings' whole parts. Unreadable judgements are left out of all three, as in the originals, and
are wrong by the strict rule; so is a question without a text, because answering failed. A blank
text is an answer and is judged, as in the originals: silence is not left out.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.play.options import Convention
from eval.play.plays import Prompt
from eval.question_sets.benchmark import Benchmark
from eval.question_sets.data_files import Reader, of_tasks, require_tasks, video_in
from eval.question_sets.items import Outcome, Row, SetItem, Texts, of_task, score_row
from eval.question_sets.judging import Judging
from vstream import SettingsError

OPEN = "open"
"""The task of questions whose file names no type."""
_VSTREAM_QA = "huggingface.co/datasets/IVGSZ/VStream-QA"
_RVS = "huggingface.co/datasets/Becomebright/RVS"


@dataclass(frozen=True)
class _Subset:
    """`videos` is the folder of whole clips; None: each question has its own moment."""

    published: str
    file: str
    videos: str | None = None


SUBSETS = {
    "vs-ego": _Subset(_VSTREAM_QA, "vstream/test_qa_ego4d.json", "vstream/ego4d_videos"),
    "vs-movie": _Subset(_VSTREAM_QA, "vstream/test_qa_movienet.json", "vstream/movienet_videos"),
    "rvs-ego": _Subset(_RVS, "ego/ego4d_oe.json"),
    "rvs-movie": _Subset(_RVS, "movie/movienet_oe.json"),
}


class VStreamQa(Benchmark):
    """One of the four subsets. The data directory is the data set's, or ReKV's `data/rvs`."""

    def __init__(self, name: str, judging: Judging | None = None) -> None:
        self.name = name
        self._subset = SUBSETS[name]
        self.published = self._subset.published
        self._judging = judging
        # Flash-VStream's inference: every second, at most 1024 tokens; or that of ReKV, the source
        # of these files: every other second, at most 256 tokens.
        is_whole = self._subset.videos is not None
        self.convention = Convention(1024, 1.0) if is_whole else Convention(256, 0.5)

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[SetItem]:
        items = list(_numbered(super().load(data_dir)))
        require_tasks(tasks, sorted({item.task for item in items}))
        return of_tasks(items, tasks)

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        return {self._subset.file: self._turns if self._subset.videos is None else self._clip}

    def prompt(self, item: SetItem) -> Prompt:
        return Prompt(item.question)

    def score(self, item: SetItem, texts: Texts) -> Outcome:
        """Raises SettingsError without a judge."""
        if self._judging is None:
            raise SettingsError(f"judge: {self.name} has open answers; name a model with --judge")
        return super().score(item, texts)

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        assert self._judging is not None
        if text is None:
            return Outcome(item, None, 0.0, "no answer")
        judged = self._judging.judge_answer(item.question, item.answer, text.replace("\n", ""))
        if judged.judgement is None:
            return Outcome(item, None, 0.0, "unreadable judgement", judged)
        is_right = float(judged.judgement.is_yes is True)
        oddity = "judged neither yes nor no" if judged.judgement.is_yes is None else ""
        return Outcome(item, is_right, is_right, oddity, judged)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """Return both accuracies and the score over all, then Flash-VStream's accuracy by type."""
        decided = [o for o in outcomes if _rating(o) is not None and not o.oddity]
        whole = score_row("Accuracy (Flash-VStream: yes / judged)", outcomes)
        return (
            whole,
            replace(score_row("Accuracy (ReKV: yes / (yes + no))", decided), strict=whole.strict),
            score_row(
                "Score",
                outcomes,
                published=_rating,
                strict=lambda outcome: _rating(outcome) or 0.0,
                unit="0 to 5",
            ),
            *(
                score_row(f"Accuracy, {task}", of_task(outcomes, task))
                for task in sorted({outcome.item.task for outcome in outcomes})
            ),
        )

    def _clip(self, _: int, entry: dict[str, Any]) -> list[SetItem]:
        video = str(entry["video_id"])
        path = f"{self._subset.videos}/{video}.mp4"
        return [_item(video, path, entry, entry["duration"])]

    def _turns(self, _: int, entry: dict[str, Any]) -> Iterator[SetItem]:
        for turn in entry["conversations"]:
            path = video_in("rvs", entry["video_path"])
            yield _item(str(entry["video_id"]), path, turn, turn["end_time"])


def _item(video_id: str, video: str, entry: dict[str, Any], asked_s: float) -> SetItem:
    return SetItem(
        id=video_id,
        video_id=video_id,
        video=video,
        task=str(entry.get("answer_type", OPEN)),
        question=entry["question"],
        answer=entry["answer"],
        asked_s=float(asked_s),
    )


def _numbered(items: Sequence[SetItem]) -> Iterator[SetItem]:
    """Name items as both authors do: the video and the number of the question about it."""
    seen: Counter[str] = Counter()
    for item in items:
        yield replace(item, id=f"{item.video_id}_{seen[item.video_id]}")
        seen[item.video_id] += 1


def _rating(outcome: Outcome) -> float | None:
    """Return the rating; by the strict rule, an unreadable judgement counts as 0."""
    judgement = outcome.judged and outcome.judged.judgement
    return float(judgement.rating) if judgement else None
