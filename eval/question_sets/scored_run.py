"""ScoredRun: a question set and a run's answers in, its table and who judged it out."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from random import Random

from eval.question_sets.agreement import Agreement, agreement
from eval.question_sets.benchmark import Benchmark, Item, Outcome, Texts
from eval.question_sets.judging import Judging
from eval.question_sets.score_rows import oddities
from eval.question_sets.table import Row, rows_document
from eval.question_sets.vstream_qa import JudgedOutcome


@dataclass(frozen=True)
class ScoredRun:
    """`num_answered` of the items have a prediction; `num_strangers` predictions have no item."""

    name: str
    outcomes: Sequence[Outcome]
    rows: Sequence[Row]
    num_answered: int
    num_strangers: int

    @classmethod
    def of(
        cls,
        benchmark: Benchmark,
        items: Sequence[Item],
        predictions: Mapping[str, Texts],
        num_parallel: int = 1,
        advance: Callable[[], None] = lambda: None,
    ) -> "ScoredRun":
        """Scores all items; those without a prediction as the benchmark scores them."""

        def score(item: Item) -> Outcome:
            outcome = benchmark.score(item, predictions.get(item.id, ()))
            advance()
            return outcome

        with ThreadPoolExecutor(num_parallel) as pool:
            outcomes = list(pool.map(score, items))
        known = {item.id for item in items}
        return cls(
            benchmark.name,
            outcomes,
            benchmark.aggregate(outcomes),
            num_answered=len(known & predictions.keys()),
            num_strangers=len(predictions.keys() - known),
        )

    def document(self) -> dict[str, object]:
        """Its part of the JSON document."""
        return {
            "benchmark": self.name,
            "questions": len(self.outcomes),
            "answered": self.num_answered,
            "predictions_without_question": self.num_strangers,
            "rows": rows_document(self.rows),
            "awkward": oddities(self.outcomes),
        }


def judge_document(judging: Judging) -> dict[str, object]:
    """Who judged: to stand beside every number that it made."""
    judge = judging.judge
    return {"name": judge.name, "versions": judging.versions, "settings": judge.settings}


def judged_again(
    outcomes: Sequence[Outcome],
    predictions: Mapping[str, Texts],
    second: Callable[[Item, Texts], Outcome],
    num_sampled: int,
) -> Agreement | None:
    """How far another judge agrees on a sample, the same each time; None if nothing was judged."""
    judged = [o for o in outcomes if isinstance(o, JudgedOutcome) and o.judged]
    sample = Random("agreement").sample(judged, min(num_sampled, len(judged)))
    if not sample:
        return None
    labels = [_label(outcome) for outcome in sample]
    others = [_label(second(o.item, predictions[o.item.id])) for o in sample]
    return agreement(labels, others)


def agreement_document(found: Agreement) -> dict[str, object]:
    return asdict(found)


def _label(outcome: Outcome) -> str:
    assert isinstance(outcome, JudgedOutcome)
    assert outcome.judged is not None
    return outcome.judged.label
