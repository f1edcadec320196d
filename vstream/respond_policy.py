"""When to speak unasked: judgements of a standing question in, the moments to tell of out.

`KOfN` is for any Video-LLM: a standing question is put to it again and again, and a run of yes is
told once. It fires when `k` of the last `n` judgements are over the threshold, the newest of them
included, and then not before the cool-down is over and fewer than `k` of the last `n` have been
over the release in between, which may be lower: one continuing presence is one firing, a single
judgement that flickers neither begins a presence nor ends it, and a probability that wavers about
the threshold is not told again and again.

`SilenceRule` is for a model trained to be silent, as in VideoLLM-online
(https://arxiv.org/abs/2406.11816, section 3.2; its threshold at inference):

    speak if P(silence) < theta, or if another token than silence is the most probable

Differs from the paper: all other tokens count as one, so that for theta below 0.5 it also speaks
where they outweigh silence together. And what was said does not enter the memory, so nothing but
`cooldown_s` keeps the model from saying it again; the paper has no cool-down, which is 0.
"""

from collections import deque
from dataclasses import dataclass
from math import inf
from typing import Protocol

from encoders import Recommended
from vstream.device.job import Job
from vstream.errors import SettingsError
from vstream.question import Evidence, Judgement
from vstream.session import Session

_ROUNDING_S = 1e-6


class RespondRule(Protocol):
    """Decides from one standing question's judgements alone; one rule object for each question."""

    def feed(self, probability: float, at_s: float) -> bool:
        """Whether to speak after this judgement; `at_s` is stream time and never goes back.

        `probability` is that of having something to say: of yes, or of all but silence.
        """
        ...


class KOfN:
    """Speaks once for each lasting yes."""

    def __init__(
        self,
        threshold: float = 0.5,
        k: int = 2,
        n: int = 2,
        cooldown_s: float = 5.0,
        release: float | None = None,
    ) -> None:
        """`release` is the threshold if it is not given, and never more than that. Raises
        SettingsError for numbers with which it would never or always speak.
        """
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
        self._are_over: deque[bool] = deque(maxlen=n)
        self._are_held: deque[bool] = deque(maxlen=n)
        self._is_told = False
        self._quiet_until_s = -inf

    def feed(self, probability: float, at_s: float) -> bool:
        is_over = probability > self._threshold
        self._are_over.append(is_over)
        self._are_held.append(probability > self._release)
        if sum(self._are_held) < self._k:
            self._is_told = False
        is_so = is_over and sum(self._are_over) >= self._k
        if not is_so or self._is_told or at_s < self._quiet_until_s:
            return False
        self._is_told = True
        self._quiet_until_s = at_s + self._cooldown_s
        return True


class SilenceRule:
    """Speaks whenever silence is not probable enough."""

    def __init__(self, threshold: float = 0.725, cooldown_s: float = 0.0) -> None:
        """`threshold` 0: speak where it is more probable than silence; 1: always, but if silence
        is certain. Raises SettingsError.
        """
        if not (0 <= threshold <= 1 and 0 <= cooldown_s < inf):
            raise SettingsError(
                f"threshold = {threshold}, cooldown_s = {cooldown_s}: wanted a threshold from 0 to "
                "1 and a cool-down of 0 seconds or more"
            )
        self._threshold = threshold
        self._cooldown_s = cooldown_s
        self._quiet_until_s = -inf

    def feed(self, probability: float, at_s: float) -> bool:
        silence = 1 - probability
        is_likely = silence < self._threshold or silence < probability
        if not is_likely or at_s < self._quiet_until_s:
            return False
        self._quiet_until_s = at_s + self._cooldown_s
        return True


def rule_for(recommended: Recommended) -> RespondRule:
    """A rule as the family recommends."""
    if recommended.silence_words:
        return SilenceRule()
    confirmations = recommended.watch_confirmations
    return KOfN(
        recommended.watch_threshold,
        k=confirmations,
        n=confirmations,
        release=recommended.watch_release,
    )


@dataclass(frozen=True)
class Firing:
    """What a standing question waited for is the case. Evidence as in Answer."""

    watch: str
    at_s: float
    probability: float
    evidence: tuple[Evidence, ...]


class Watch:
    """One standing question on one session, to be looked at as the stream goes on.

    Belongs to one thread, which may be the one that pushes frames. A moment is judged by what had
    been seen by then, so it makes no difference how long after it one looks.
    """

    def __init__(
        self, session: Session, text: str, rule: RespondRule | None = None, every_s: float = 1.0
    ) -> None:
        """`rule` is this watch's own. Unless given it is KOfN as the family recommends, or
        SilenceRule for a model that was trained to be silent. Raises SettingsError.
        """
        if not 0 < every_s < inf:
            raise SettingsError(f"every_s = {every_s}: wanted more than 0 seconds of stream time")
        self.text = text
        self.session = session
        """Of the stream; another one if the stream's memory had to be opened anew."""
        self._rule: RespondRule = rule or rule_for(session.model.family.recommended)
        self._every_s = every_s
        self._last_tick: int | None = None
        self.num_judged = 0
        self.num_skipped = 0
        """Ticks that went by unjudged."""

    def look(self, at_s: float) -> Firing | None:
        """Judge the moment `at_s`; what it says if it is time to speak.

        Stream time is cut into ticks of `every_s`: only the first look in each tick is judged. Any
        other does nothing, nor does one that goes back or comes before the first block has ended.
        Raises what `Session.judge` raises.
        """
        if not self.is_due(at_s) or not self.session.memory.visible(at_s):
            return None
        return self.feed(self.session.judge(self.text, at_s))

    def is_due(self, at_s: float) -> bool:
        """Whether `at_s` is in another tick than the last one judged."""
        return self._last_tick is None or self._tick(at_s) > self._last_tick

    def has_passed(self, at_s: float) -> bool:
        """Whether a later moment has been judged: then the stream has begun anew."""
        return self._last_tick is not None and self._tick(at_s) < self._last_tick

    def begin_anew(self, rule: RespondRule) -> None:
        """Of the moments so far only how many they were is known, and `rule` has heard of none."""
        self._rule = rule
        self._last_tick = None

    def begin(self, at_s: float) -> Job[Judgement] | None:
        """Have the moment `at_s` judged, without waiting; None before the first block has ended.

        With `feed` it is `look` in two parts, for many watches at once.
        """
        if not self.session.memory.visible(at_s):
            return None
        return self.session.begin_judging(self.text, at_s)

    def feed(self, judgement: Judgement) -> Firing | None:
        """What it says to a moment that has been judged."""
        tick = self._tick(judgement.at_s)
        if self._last_tick is not None:
            self.num_skipped += max(0, tick - self._last_tick - 1)
        self._last_tick = tick
        self.num_judged += 1
        if not self._rule.feed(judgement.probability, judgement.at_s):
            return None
        return Firing(self.text, judgement.at_s, judgement.probability, judgement.evidence)

    def _tick(self, at_s: float) -> int:
        return int((at_s + _ROUNDING_S) / self._every_s)
