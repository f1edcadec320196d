"""SpeakingPolicy: decides from one standing question's judgements when to tell of it.

A policy is one file in this folder, called as it is, or a class of another package under the entry
point group `vstream.speaking`.
"""

from typing import ClassVar, Self

from encoders import Recommended


class SpeakingPolicy:
    """Base of all. One object serves one standing question on one stream."""

    name: ClassVar[str] = ""

    @classmethod
    def wished(
        cls,
        model: Recommended,
        threshold: float | None,
        confirmations: int | None,
        cooldown_s: float | None,
    ) -> Self:
        """The policy as a user wants it; None is what the model recommends, or its own default.

        `confirmations` counts judgements in a row. Raises SettingsError.
        """
        raise NotImplementedError

    def feed(self, probability: float, at_s: float) -> bool:
        """Whether to speak after this judgement; `at_s` is stream time and never goes back.

        `probability` is that of having something to say: of yes, or of all but silence.
        """
        raise NotImplementedError
