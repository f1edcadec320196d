"""SpeakingPolicy: decides from one standing question's judgements when to tell of it.

A policy is one file in this folder, called as it is, or a class of another package under the entry
point group `vstream.speaking`.
"""

from dataclasses import dataclass
from typing import ClassVar, Self

from encoders import Recommended


@dataclass(frozen=True)
class RuleSettings:
    """What a user wants; None is what the model recommends, or a policy's own default."""

    threshold: float | None = None
    confirmations: int | None = None
    """Judgements in a row."""
    cooldown_s: float | None = None


class SpeakingPolicy:
    """Base of all. One object serves one standing question on one stream."""

    name: ClassVar[str] = ""

    @classmethod
    def wished(cls, model: Recommended, wish: RuleSettings) -> Self:
        """The policy as a user wants it. Raises SettingsError."""
        raise NotImplementedError

    def feed(self, probability: float, at_s: float) -> bool:
        """Whether to speak after this judgement; `at_s` is stream time and never goes back.

        `probability` is that of having something to say: of yes, or of all but silence.
        """
        raise NotImplementedError

    def go_on_from(self, before: "SpeakingPolicy") -> None:
        """Take over what `before`, which this one takes the place of, has heard and told. Does
        nothing unless overridden.
        """
