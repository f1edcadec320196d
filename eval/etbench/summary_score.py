"""Summary score: answers to evs of one source in, how well their seconds fit the true ones out."""

from collections.abc import Sequence

from eval.etbench.grounding_score import read_times
from eval.etbench.mend import Mend
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.rules import Figures, Rules
from eval.etbench.sample import Answered, Span

OFFICIAL_LENGTH_S = 1000

Seconds = list[tuple[int, int]]
"""Runs of whole seconds, in order, apart from each other."""


def summary_score(answered: Sequence[Answered], rules: Rules) -> Figures:
    """The mean over the answers with times; with its mend over all."""
    scores = [summary_f1(one, rules) for one in answered]
    counted = [one for one in scores if one is not None]
    total = len(scores) if Mend.REFUSALS_COUNT_IN_EVS in rules.mends else len(counted)
    return {
        "Total": len(scores),
        "Failed": len(scores) - len(counted),
        "F1": sum(counted) / total if total else 0.0,
    }


def summary_f1(one: Answered, rules: Rules) -> float | None:
    """Of the whole seconds that answer and truth hold; None if the answer has failed."""
    spans = read_times(one, rules)
    if not spans:
        return None
    limit_s = None if Mend.SUMMARY_OF_ANY_LENGTH in rules.mends else OFFICIAL_LENGTH_S
    return rules.read(one.sample, _f1, one.sample.tgt, spans, limit_s)


def _f1(true: Sequence[Span], found: Sequence[Span], limit_s: int | None) -> float:
    num_true, num_found = _count(true, limit_s), _count(found, limit_s)
    shared = num_true + num_found - _count([*true, *found], limit_s)
    return 2 * shared / (num_true + num_found) if shared else 0.0


def _count(spans: Sequence[Span], limit_s: int | None) -> int:
    """How many whole seconds the spans cover; ends are rounded half to even."""
    count = reached = 0
    for start, end in sorted(_whole(span, limit_s) for span in spans):
        count += max(0, end - max(start, reached))
        reached = max(reached, end)
    return count


def _whole(span: Span, limit_s: int | None) -> tuple[int, int]:
    try:
        start, end = max(0, round(span[0])), round(span[1])
    except OverflowError as error:
        raise OfficialCrash("OverflowError", str(error)) from error
    return (start, end) if limit_s is None else (start, min(limit_s, end))
