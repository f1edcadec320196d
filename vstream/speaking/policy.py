"""SpeakingPolicy: decides from an alert's judgements when it fires.

A policy is one file in this folder, named like it, or a class of another package under the entry
point group `vstream.speaking`.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from encoders import Recommended


@dataclass(frozen=True)
class RuleSettings:
    """What a user wants; None: what the model recommends, or a policy's own default."""

    threshold: float | None = None
    confirmations: int | None = None
    """Judgements in a row."""
    cooldown_s: float | None = None


class SpeakingPolicy:
    """Base class. One object serves one alert on one stream."""

    name: ClassVar[str] = ""

    @classmethod
    def wished(cls, model: Recommended, wish: RuleSettings) -> Self:
        """Make the policy as a user wants it. Raises SettingsError."""
        raise NotImplementedError

    def feed(self, probability: float, at_s: float) -> bool:
        """Return whether to fire after this judgement; `at_s` is stream time and never goes back.

        `probability` is that of having something to say: of yes, or of all but silence.
        """
        raise NotImplementedError

    def go_on_from(self, before: "SpeakingPolicy") -> None:
        """Take over the state of `before`, which this one replaces. Does nothing by default."""
