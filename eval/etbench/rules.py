"""Rules: what answers are scored by: the mends, the sentence model, and a list of what crashed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from eval.etbench.mend import Mends
from eval.etbench.official_crash import OfficialCrash
from eval.etbench.sample import Sample, SampleKey
from eval.etbench.sentence_likeness import SentenceLikeness

Read = TypeVar("Read")
Given = ParamSpec("Given")

Figures = dict[str, float | None]
"""The figures of one task and source, by the official names."""


@dataclass(frozen=True)
class Deviation:
    """A sample that counts as failed where the official scorer ends with an exception."""

    key: SampleKey
    raises: str
    why: str


@dataclass
class Rules:
    """One score's; `deviations` grows while samples are read."""

    mends: Mends
    likeness: SentenceLikeness
    deviations: list[Deviation] = field(default_factory=list)

    def read(
        self,
        sample: Sample,
        reading: Callable[Given, Read],
        *given: Given.args,
        **named: Given.kwargs,
    ) -> Read | None:
        """What the reading returns of what it is given; None where the official scorer ends."""
        try:
            return reading(*given, **named)
        except OfficialCrash as crash:
            self.deviations.append(Deviation(sample.key, crash.raises, crash.why))
            return None


def rounded(figures: Figures) -> Figures:
    """To five decimals, as the official scorer prints them."""
    return {
        name: value if value is None or isinstance(value, int) else round(float(value), 5)
        for name, value in figures.items()
    }
