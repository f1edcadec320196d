"""SetItem: one question of a published set; Outcome: its scores; Row: a line of the table."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from eval.clustered_error import Estimate, Mark, Part, estimate
from eval.play.plays import TimeSpan
from eval.question_sets.judging import Judged

Texts = Sequence[str | None]
"""What a model said to an item's prompts, in order; None where it failed. Empty: never asked."""


@dataclass(frozen=True)
class SetItem:
    """One question of a set, with its benchmark's rules for when it is asked.

    `video` is relative to the data directory: a file, or a folder of frames. `answer` is the true
    one as it is scored: a letter, a number, a word or a text. `asked_s` is math.inf if a question
    follows the whole video and the set does not state its length. `polls_s`: the question stands
    from `asked_s` on and is put at these seconds, until it is answered. `context` is what the
    benchmark tells of earlier questions, `group` the part of the table it counts in.
    """

    id: str
    video_id: str
    video: str
    task: str
    question: str
    answer: str
    asked_s: float
    options: tuple[str, ...] = ()
    group: str = ""
    seen_from_s: float = 0.0
    polls_s: tuple[float, ...] = ()
    context: str = ""

    @property
    def spans(self) -> tuple[TimeSpan, ...]:
        """What may be seen each time it is put."""
        ends = self.polls_s or (self.asked_s,)
        return tuple(TimeSpan(self.seen_from_s, end_s) for end_s in ends)


@dataclass(frozen=True)
class Outcome:
    """An item's score by the published rule, and by a strict one that closes its gaps.

    Both are from 0 to 1; None: the published rule leaves the item out of its mean. The strict rule
    counts every item. `oddity` names what is awkward about the answer; empty for a plain one.
    `judged` is a judge's verdict on an open answer. `published_text`: if `published` is whether it
    spoke in time, whether it also said the true text.
    """

    item: SetItem
    published: float | None
    strict: float
    oddity: str = ""
    judged: Judged | None = None
    published_text: float | None = None


@dataclass(frozen=True)
class Row:
    """One quantity by the published rule and by the strict one, in percent or its unit; None:
    unavailable.
    """

    name: str
    published: Estimate | None
    strict: Estimate | None
    unit: str = "%"

    def document(self) -> dict[str, object]:
        published, strict = (one and one.document() for one in (self.published, self.strict))
        return {"unit": self.unit, "published": published, "strict": strict}


Value = Callable[[Outcome], float | None]


def score_row(
    name: str,
    *groups: Sequence[Outcome],
    weights: Sequence[float] = (),
    published: Value = lambda outcome: outcome.published,
    strict: Value = lambda outcome: outcome.strict,
    unit: str = "%",
) -> Row:
    """Return the mean over groups of each group's mean; with `weights`, a weighted sum."""
    shares = weights or [1 / len(groups)] * len(groups)
    found = [_figure(groups, shares, rule, unit) for rule in (published, strict)]
    return Row(name, found[0], found[1], unit)


def _figure(
    groups: Sequence[Sequence[Outcome]], weights: Sequence[float], value: Value, unit: str
) -> Estimate | None:
    parts = []
    for weight, group in zip(weights, groups, strict=True):
        found = [(outcome.item.video_id, value(outcome)) for outcome in group]
        parts.append(Part(weight, [Mark(video, mark) for video, mark in found if mark is not None]))
    if not parts or not all(part.marks for part in parts):
        return None
    return estimate(parts, 100.0 if unit == "%" else 1.0)


def of_task(outcomes: Sequence[Outcome], task: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.item.task == task]


def of_group(outcomes: Sequence[Outcome], group: str) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.item.group == group]


def oddities(outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Count the awkward answers by kind, most frequent first."""
    counted = Counter(outcome.oddity for outcome in outcomes if outcome.oddity)
    return dict(counted.most_common())
