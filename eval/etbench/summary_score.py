"""Summary score: answers to evs of one source in, how well their seconds fit the true ones out."""

from collections.abc import Sequence

from eval.etbench.answer_times import answer_times
from eval.etbench.sample import Answered, Figures, Span

LENGTH_S = 1000
"""What lies beyond is dropped, as officially."""


def summary_score(answered: Sequence[Answered]) -> Figures:
    """The mean over the answers with times."""
    scores = [summary_f1(one) for one in answered]
    counted = [one for one in scores if one is not None]
    return {
        "Total": len(scores),
        "Failed": len(scores) - len(counted),
        "F1": sum(counted) / len(counted) if counted else 0.0,
    }


def summary_f1(one: Answered) -> float | None:
    """Of the whole seconds that answer and truth hold; None if the answer has failed."""
    true, found = one.sample.tgt, answer_times(one.answer)
    if not found:
        return None
    try:
        num_true, num_found, num_any = _count(true), _count(found), _count([*true, *found])
    except OverflowError:  # a number beyond all bounds, on which the official scorer raises
        return None
    shared = num_true + num_found - num_any
    return 2 * shared / (num_true + num_found) if shared else 0.0


def _count(spans: Sequence[Span]) -> int:
    """How many whole seconds the spans cover; ends are rounded half to even."""
    count = reached = 0
    for start, end in sorted(
        (max(0, round(start)), min(LENGTH_S, round(end))) for start, end in spans
    ):
        count += max(0, end - max(start, reached))
        reached = max(reached, end)
    return count
