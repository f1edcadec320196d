"""Alert: judges one condition on a stream over and over and says when it is met."""

from dataclasses import dataclass, field
from math import inf

from vstream.device.work import Job
from vstream.errors import SettingsError
from vstream.question import UNTOLD, Judgement
from vstream.session import Session
from vstream.speaking import speaking_policy
from vstream.speaking.policy import SpeakingPolicy

_ROUNDING_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class Firing(Judgement):
    """An alert's condition was met. The evidence is as in `Answer`."""

    condition: str = field(metadata=UNTOLD)


class Alert:
    """Judges one condition on one session as the stream goes on.

    Belongs to one thread, which may be the one that pushes frames. A judgement uses only what had
    been seen by its moment, so it does not matter how much later it is made.
    """

    def __init__(
        self,
        session: Session,
        condition: str,
        rule: SpeakingPolicy | None = None,
        every_s: float = 1.0,
    ) -> None:
        """`rule` defaults to what the family recommends. Raises SettingsError."""
        if not 0 < every_s < inf:
            raise SettingsError(f"every_s = {every_s}: wanted more than 0 seconds of stream time")
        self.condition = condition
        self.session = session
        """Replaced when the stream's memory has to be opened again."""
        self._rule = rule or speaking_policy(None, session.model.family.recommended)
        self._every_s = every_s
        self._judged_s: float | None = None
        self.strange: str | None = None
        """Why the last judgement was ignored, whatever the model said; see `Basis.strange`."""
        self.num_judged = 0
        self.num_skipped = 0
        """Ticks that passed without a judgement."""

    def look(self, at_s: float) -> Firing | None:
        """Judge the moment `at_s`; return a Firing if it is time to speak.

        Stream time is cut into ticks of `every_s` seconds, and only the first look in each tick is
        judged. Looks that go back in time or come before the first block has ended do nothing.
        Raises what `Session.judge` raises.
        """
        if not self.is_due(at_s) or not self.session.memory.visible(at_s):
            return None
        return self.feed(self.session.judge(self.condition, at_s))

    def is_due(self, at_s: float) -> bool:
        """Whether `at_s` is in a later tick than the last one judged."""
        return self._judged_s is None or self._tick(at_s) > self._tick(self._judged_s)

    def has_passed(self, at_s: float) -> bool:
        """Whether a later moment has been judged, which means that the stream has started over."""
        return self._judged_s is not None and self._tick(at_s) < self._tick(self._judged_s)

    def start_over(self, rule: SpeakingPolicy) -> None:
        """Start over with `rule`, which has seen no judgement yet. The counters stay."""
        self._rule = rule
        self._judged_s = None

    def change(self, every_s: float, rule: SpeakingPolicy | None = None) -> None:
        """Set the interval and, if given, a new rule, which continues where the old one was."""
        self._every_s = every_s
        if rule is not None:
            rule.go_on_from(self._rule)
            self._rule = rule

    def begin(self, at_s: float) -> Job[Judgement] | None:
        """Start judging the moment `at_s` without waiting; None before the first block has ended.
        With `feed` this splits `look` in two, so that many alerts are judged together.
        """
        if not self.session.memory.visible(at_s):
            return None
        return self.session.begin_judging(self.condition, at_s)

    def feed(self, judgement: Judgement) -> Firing | None:
        """Take the judgement of a moment; return a Firing if it is time to speak."""
        if self._judged_s is not None:
            passed = self._tick(judgement.at_s) - self._tick(self._judged_s)
            self.num_skipped += max(0, passed - 1)
        self._judged_s = judgement.at_s
        self.num_judged += 1
        self.strange = judgement.strange
        probability = judgement.probability if judgement.strange is None else 0.0
        if not self._rule.feed(probability, judgement.at_s):
            return None
        return Firing(condition=self.condition, **vars(judgement))

    def _tick(self, at_s: float) -> int:
        return int((at_s + _ROUNDING_S) / self._every_s)
