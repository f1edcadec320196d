"""score_row: the outcomes of a benchmark's tasks in, one row of its table out."""

from collections import Counter
from collections.abc import Sequence

from eval.clustered_error import Part
from eval.question_sets.benchmark import Outcome
from eval.question_sets.table import Figure, Row, figure, marks_of


def score_row(name: str, *groups: Sequence[Outcome]) -> Row:
    """The mean over the groups of each group's mean; of one group, its plain mean."""
    return weighted_row(name, [(1 / len(groups), group) for group in groups])


def weighted_row(name: str, groups: Sequence[tuple[float, Sequence[Outcome]]]) -> Row:
    """Each group's mean times its weight, added up."""
    return Row(name, _figure(groups, is_strict=False), _figure(groups, is_strict=True))


def of_task(outcomes: Sequence[Outcome], task: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.item.task == task]


def of_group(outcomes: Sequence[Outcome], group: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.item.group == group]


def oddities(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """How many answers were awkward in which way, most frequent first."""
    counted = Counter(outcome.oddity for outcome in outcomes if outcome.oddity)
    return dict(counted.most_common())


def _figure(groups: Sequence[tuple[float, Sequence[Outcome]]], is_strict: bool) -> Figure | None:
    return figure(
        [
            Part(
                weight,
                marks_of(
                    [(o.item.video_id, o.strict if is_strict else o.published) for o in group]
                ),
            )
            for weight, group in groups
        ]
    )
