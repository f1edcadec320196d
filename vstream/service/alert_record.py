"""AlertRecord: one standing question of a service, and what has come of it."""

from collections import deque
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vstream.alert import Alert, Firing
from vstream.question import Saying
from vstream.service.alert_spec import AlertSpec
from vstream.service.stream_keeper import StreamKeeper
from vstream.speaking.policy import SpeakingPolicy

_EVIDENCE = 8
"""So many moments go with a firing, the best ones."""
_FIRINGS = 50
"""So many of the newest firings are kept with an alert."""


@dataclass(eq=False)
class PastFiring:
    """What is kept of a firing. The frame that decided it was captured at `at`, in seconds since
    the epoch, and is at `at_s` of the stream: it shows what was the case, which the moments that
    were read beside it need not.
    """

    stream_id: str
    at: float
    at_s: float
    probability: float
    said: Saying | None = None
    """What the model says of it; None: nothing yet, or it is forgotten."""

    @property
    def sentence(self) -> str | None:
        """Empty if the model says nothing."""
        return None if self.said is None else self.said.text


@dataclass(eq=False)
class AlertRecord:
    """One alert, and what has come of it so far."""

    id: str
    spec: AlertSpec
    owner: str
    created_at: float
    is_declared: bool = False
    """By a configuration file, which alone remembers it."""
    fired: int = 0
    last_fired_at: float | None = None
    last_probability: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    firings: deque[PastFiring] = field(default_factory=partial(deque, maxlen=_FIRINGS))
    """The newest ones, newest first."""
    on_streams: dict[StreamKeeper, Alert] = field(default_factory=dict, repr=False)
    """Of those that are still watched; replaced as a whole when one is not."""

    def take(self, spec: AlertSpec, rules: dict[StreamKeeper, SpeakingPolicy]) -> None:
        """Be as `spec` wants, judged on the streams of `rules`. What has come of another condition,
        or of streams that are not watched any more, goes; all else goes on.
        """
        is_other = spec.condition != self.spec.condition
        if is_other:
            self.fired, self.last_fired_at, self.problem = 0, None, None
            self.firings.clear()
            self.last_probability = {}
        kept = {} if is_other else self.on_streams
        for keeper, alert in kept.items():
            is_same = spec.speaking == self.spec.speaking or keeper not in rules
            alert.change(spec.every_s, None if is_same else rules[keeper])
        alerts = {
            keeper: kept.get(keeper) or Alert(keeper.session, spec.condition, rule, spec.every_s)
            for keeper, rule in rules.items()
        }
        of = set(spec.stream_ids)
        past = [one for one in self.firings if one.stream_id in of]
        self.firings = deque(past, maxlen=_FIRINGS)
        self.last_probability = {name: p for name, p in self.last_probability.items() if name in of}
        self.spec, self.on_streams = spec, alerts

    def forget(self, stream_id: str, from_s: float, to_s: float) -> None:
        """What was said of any moment of [from_s, to_s]."""
        for past in self.firings.copy():
            said = past.said if past.stream_id == stream_id else None
            if said is not None and said.from_s <= to_s and past.at_s >= from_s:
                past.said = None

    @property
    def noted_beside(self) -> str:
        """The id of the stream whose note holds it: the first that is still watched."""
        return next((one.spec.id for one in self.on_streams), self.spec.stream_ids[0])

    @property
    def noted_on(self) -> set[str]:
        """Ids of all streams whose note may hold it: of one that was away for a while, as well."""
        return {self.noted_beside, *(one.spec.id for one in self.on_streams)}

    @property
    def ids(self) -> dict[str, str]:
        """As what is told of it names it."""
        old = {"watch_id": self.id} if self.spec.told_as == "watch" else {}
        return {"alert_id": self.id, **old}

    @property
    def judged(self) -> int:
        """Moments that were judged."""
        return sum(alert.num_judged for alert in self.on_streams.values())

    @property
    def skipped(self) -> int:
        """Ticks that went by unjudged."""
        return sum(alert.num_skipped for alert in self.on_streams.values())


@dataclass(frozen=True)
class FiredAlert:
    """An alert whose time has come."""

    alert: AlertRecord
    firing: Firing
    past: PastFiring

    @property
    def document(self) -> dict[str, Any]:
        """JSON-able, as events and webhooks carry it; `evidence` best first. `sentence` is about
        what was seen since `from_s`; both are None as long as it is not known.
        """
        said = self.past.said
        return {
            **self.alert.ids,
            "stream_id": self.past.stream_id,
            "condition": self.firing.condition,
            "at": self.past.at,
            **replace(self.firing, evidence=self.firing.evidence[:_EVIDENCE]).document(),
            "sentence": None if said is None else said.text,
            "from_s": None if said is None else said.from_s,
        }
