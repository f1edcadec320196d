"""agreement: what two judges said of the same answers in, how often and how far they agree out.

Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960). With p the share of answers on
which they agree and e the share that would agree by chance, from how often each says what,
kappa = (p - e) / (1 - e). Where both always say the same one thing there is no kappa.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """`agreed` is a share of 1; `kappa` is None where it is not defined."""

    num_answers: int
    agreed: float
    kappa: float | None


def agreement(first: Sequence[str], second: Sequence[str]) -> Agreement:
    """The labels that each judge gave, in the same order; at least one."""
    pairs = list(zip(first, second, strict=True))
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    counts = Counter(first), Counter(second)
    by_chance = sum(counts[0][label] * counts[1][label] for label in counts[0]) / len(pairs) ** 2
    kappa = None if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)
    return Agreement(len(pairs), agreed, kappa)
