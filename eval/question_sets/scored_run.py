"""ScoredRun: the scores of a run's answers to a question set, its table and its judges."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random

from eval.command_line import progress_bar
from eval.question_sets.benchmark import Benchmark
from eval.question_sets.choice_sets import Mlvu, QaEgo4d, VideoMme
from eval.question_sets.items import Outcome, Row, SetItem, Texts, oddities
from eval.question_sets.judging import Judging, agreement, judge_named
from eval.question_sets.ovo_bench import OvoBench
from eval.question_sets.streaming_bench import StreamingBench
from eval.question_sets.vstream_qa import SUBSETS, VStreamQa
from vstream import SettingsError

_BY_RULE: dict[str, Callable[[], Benchmark]] = {
    "mlvu": Mlvu,
    "ovo-bench": OvoBench,
    "qaego4d": QaEgo4d,
    "streaming-bench": StreamingBench,
    "streaming-bench-all-context": lambda: StreamingBench(context_s=None),
    "video-mme": VideoMme,
}
NAMES = tuple(sorted((*_BY_RULE, *SUBSETS)))


def make_benchmark(name: str, judging: Judging | None = None) -> Benchmark:
    """Return the set; sets with open answers need `judging` to score. Raises SettingsError."""
    if name in SUBSETS:
        return VStreamQa(name, judging)
    if name not in _BY_RULE:
        raise SettingsError(f"benchmark: there is no {name!r}; choose of {', '.join(NAMES)}")
    return _BY_RULE[name]()


@dataclass(frozen=True)
class Judges:
    """The judges of open answers, as the user named them; both judge `sample` answers."""

    first: str | None
    url: str | None
    key: str | None
    second: str | None
    sample: int
    replies: Path | None

    def judging(self, name: str | None, predictions: Path) -> Judging | None:
        if name is None:
            return None
        replies = self.replies or predictions.with_suffix(".judgements.jsonl")
        return Judging(judge_named(name, self.url, self.key), replies)


@dataclass(frozen=True)
class ScoredRun:
    outcomes: Sequence[Outcome]
    rows: Sequence[Row]
    document: dict[str, object]


def score_run(
    name: str,
    items: Sequence[SetItem],
    predictions: Mapping[str, Texts],
    judges: Judges,
    path: Path,
) -> ScoredRun:
    """Score items, those without a prediction as their benchmark does; `path`: the predictions."""
    judging = judges.judging(judges.first, path)
    benchmark = make_benchmark(name, judging)
    with progress_bar() as progress:
        bar = progress.add_task("scoring", total=len(items))

        def score(item: SetItem) -> Outcome:
            outcome = benchmark.score(item, predictions.get(item.id, ()))
            progress.advance(bar)
            return outcome

        with ThreadPoolExecutor(1 if judging is None else judging.judge.num_parallel) as pool:
            outcomes = list(pool.map(score, items))
    rows = benchmark.aggregate(outcomes)
    known = {item.id for item in items}
    document: dict[str, object] = {
        "benchmark": benchmark.name,
        "questions": len(outcomes),
        "answered": len(known & predictions.keys()),
        "predictions_without_question": len(predictions.keys() - known),
        "rows": {row.name: row.document() for row in rows},
        "awkward": oddities(outcomes),
    }
    if judging is not None:
        document["judge"] = judging.document()
    if (second := judges.judging(judges.second, path)) is not None:
        document["agreement"] = _agreement(name, outcomes, predictions, second, judges.sample)
        document["second_judge"] = second.document()
    return ScoredRun(outcomes, rows, document)


def _agreement(
    name: str,
    outcomes: Sequence[Outcome],
    predictions: Mapping[str, Texts],
    second: Judging,
    num_sampled: int,
) -> dict[str, float | None] | None:
    """Return another judge's agreement on a fixed sample; None if nothing was judged."""
    judged = [outcome for outcome in outcomes if outcome.judged]
    sample = Random("agreement").sample(judged, min(num_sampled, len(judged)))
    if not sample:
        return None
    benchmark = make_benchmark(name, second)
    others = [benchmark.score(one.item, predictions[one.item.id]) for one in sample]
    labels = [[one.judged.label for one in several if one.judged] for several in (sample, others)]
    return agreement(*labels)
