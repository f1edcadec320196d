"""k_of_n: fires once for a run of yes, for any Video-LLM.

A condition is judged again and again. The alert fires when `k` of the last `n` judgements are over
the threshold, the newest among them. It fires again only after the cool-down, and only once fewer
than `k` of the last `n` have been over the release in between, which may be lower. So one
continuing presence is one firing, a single judgement that flickers neither starts a presence nor
ends it, and a probability that wavers about the threshold does not fire again and again.
"""

from collections import deque
from math import inf
from typing import Self

from encoders import Recommended
from vstream.errors import SettingsError
from vstream.speaking.policy import RuleSettings, SpeakingPolicy


class KOfN(SpeakingPolicy):
    """Fires once for each lasting yes."""

    name = "k_of_n"

    def __init__(
        self,
        threshold: float = 0.5,
        k: int = 2,
        n: int = 2,
        cooldown_s: float = 5.0,
        release: float | None = None,
    ) -> None:
        """`release` is at most the threshold. Raises SettingsError for a rule that never speaks."""
        if not 1 <= k <= n:
            raise SettingsError(f"k = {k} of n = {n} judgements: wanted 1 <= k <= n")
        if not (0 <= threshold < 1 and 0 <= cooldown_s < inf):
            raise SettingsError(
                f"threshold = {threshold}, cooldown_s = {cooldown_s}: wanted a threshold from 0 to "
                "below 1 and a cool-down of 0 seconds or more"
            )
        if release is not None and not 0 <= release < 1:
            raise SettingsError(f"release = {release}: wanted 0 to below 1")
        self._threshold = threshold
        self._release = threshold if release is None else min(release, threshold)
        self._k = k
        self._cooldown_s = cooldown_s
        self._last: deque[float] = deque(maxlen=n)
        self._has_fired = False
        self._fired_s = -inf

    @classmethod
    def wished(cls, model: Recommended, wish: RuleSettings) -> Self:
        count = wish.confirmations or model.alert_confirmations
        return cls(
            model.alert_threshold if wish.threshold is None else wish.threshold,
            k=count,
            n=count,
            cooldown_s=5.0 if wish.cooldown_s is None else wish.cooldown_s,
            release=model.alert_release,
        )

    def feed(self, probability: float, at_s: float) -> bool:
        self._last.append(probability)
        if sum(one > self._release for one in self._last) < self._k:
            self._has_fired = False
        is_over = sum(one > self._threshold for one in self._last) >= self._k
        is_so = is_over and probability > self._threshold
        if not is_so or self._has_fired or at_s < self._fired_s + self._cooldown_s:
            return False
        self._has_fired = True
        self._fired_s = at_s
        return True

    def go_on_from(self, before: SpeakingPolicy) -> None:
        if isinstance(before, KOfN):
            self._last.extend(before._last)
            self._has_fired, self._fired_s = before._has_fired, before._fired_s
