"""silence: speaks when silence is not probable enough, for a model trained to be silent.

Source: VideoLLM-online (https://arxiv.org/abs/2406.11816, section 3.2; its threshold at inference):

    speak if P(silence) < theta, or if another token than silence is the most probable

Differs from the paper: all other tokens count as one, so that for theta below 0.5 it also speaks if
they outweigh silence together; for a model without a word for silence, no counts as silence. And
what was said does not enter the memory, so only `cooldown_s` keeps the model from saying it again;
the paper has no cool-down, which is 0.
"""

from math import inf
from typing import Self

from encoders import Recommended
from vstream.errors import SettingsError
from vstream.speaking.policy import RuleSettings, SpeakingPolicy

_THRESHOLD = 0.725


class Silence(SpeakingPolicy):
    """Speaks whenever silence is not probable enough."""

    name = "silence"

    def __init__(self, threshold: float = _THRESHOLD, cooldown_s: float = 0.0) -> None:
        """`threshold` 0: speak only if yes beats silence; 1: always. Raises SettingsError."""
        if not (0 <= threshold <= 1 and 0 <= cooldown_s < inf):
            raise SettingsError(
                f"threshold = {threshold}, cooldown_s = {cooldown_s}: wanted a threshold from 0 to "
                "1 and a cool-down of 0 seconds or more"
            )
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._told_s = -inf

    @classmethod
    def wished(cls, model: Recommended, wish: RuleSettings) -> Self:
        if wish.confirmations is not None:
            raise SettingsError("silence speaks after one judgement: leave confirmations out")
        threshold = _THRESHOLD if wish.threshold is None else wish.threshold
        return cls(threshold, wish.cooldown_s or 0.0)

    def feed(self, probability: float, at_s: float) -> bool:
        silence = 1 - probability
        is_likely = silence < self._threshold or silence < probability
        if not is_likely or at_s < self._told_s + self._cooldown_s:
            return False
        self._told_s = at_s
        return True

    def go_on_from(self, before: SpeakingPolicy) -> None:
        if isinstance(before, Silence):
            self._told_s = before._told_s
