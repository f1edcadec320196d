"""AlertRecord: one alert of a service, and what has come of it."""

from collections import Counter, deque
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vstream.alert import Alert, Firing
from vstream.service.alert_spec import AlertSpec
from vstream.service.past_firing import PastFiring
from vstream.service.stream_keeper import StreamKeeper
from vstream.speaking.policy import SpeakingPolicy

_EVIDENCE = 8
"""How many moments go with a firing, the best ones."""
_FIRINGS = 50


@dataclass(eq=False)
class AlertRecord:
    """One alert, with its judgements and firings so far."""

    id: str
    spec: AlertSpec
    owner: str
    created_at: float
    changed_at: float = 0.0
    is_declared: bool = False
    """Declared in a configuration file, which alone remembers it."""
    fired_on: Counter[str] = field(default_factory=Counter)
    """How often it fired on each stream."""
    last_probability: dict[str, float] = field(default_factory=dict)
    problem: str | None = None
    firings: deque[PastFiring] = field(default_factory=partial(deque, maxlen=_FIRINGS))
    """The newest firings, newest first."""
    on_streams: dict[StreamKeeper, Alert] = field(default_factory=dict, repr=False)
    """For streams that are still watched; replaced as a whole when one is not."""

    def __post_init__(self) -> None:
        self.changed_at = self.changed_at or self.created_at

    def take(self, spec: AlertSpec, rules: dict[StreamKeeper, SpeakingPolicy]) -> None:
        """Become what `spec` wants, judged on the streams of `rules`. Results for another
        condition, or for streams that are no longer watched, go; all others stay.
        """
        is_other = spec.condition != self.spec.condition
        if is_other:
            self.problem = None
            self.fired_on = Counter()
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
        past = [one for one in self.firings if spec.is_on(one.stream_id)]
        self.firings = deque(past, maxlen=_FIRINGS)
        self.fired_on = Counter({name: n for name, n in self.fired_on.items() if spec.is_on(name)})
        seen = {name: p for name, p in self.last_probability.items() if spec.is_on(name)}
        self.last_probability = seen
        self.spec, self.on_streams = spec, alerts

    def take_noted(self, stream_id: str, noted: Mapping[str, Any]) -> None:
        """Continue from what `noted_of` gave, unless its condition was another. Raises KeyError,
        TypeError, ValueError for anything else.
        """
        if noted["condition"] != self.spec.condition:
            return
        self.created_at = min(self.created_at, noted["created_at"])
        past = [*self.firings, *(PastFiring.of(stream_id, one) for one in noted["kept"])]
        past.sort(key=lambda one: one.id, reverse=True)
        self.firings = deque(past[:_FIRINGS], maxlen=_FIRINGS)
        self.fired_on[stream_id] += int(noted["fired"])

    def leave(self, stream_ids: Set[str]) -> None:
        """Drop what has come of it on these streams: another worker reports that now."""
        past = [one for one in self.firings if one.stream_id not in stream_ids]
        self.firings = deque(past, maxlen=_FIRINGS)
        for stream_id in stream_ids:
            self.fired_on.pop(stream_id, None)
            self.last_probability.pop(stream_id, None)

    @property
    def noted(self) -> dict[str, Any]:
        """What the notes of its streams hold of it, except its firings."""
        return {
            "id": self.id,
            "owner": self.owner,
            "created_at": self.created_at,
            "changed_at": self.changed_at,
            "spec": self.spec.model_dump(mode="json"),
        }

    def noted_of(self, stream_id: str) -> dict[str, Any] | None:
        """Return what to keep of its firings on a stream, JSON-able; None if there are none."""
        if not self.fired_on[stream_id]:
            return None
        kept = [one.noted for one in self.firings.copy() if one.stream_id == stream_id]
        of = {"condition": self.spec.condition, "created_at": self.created_at}
        return {**of, "fired": self.fired_on[stream_id], "kept": kept}

    def forget(self, stream_id: str, from_s: float, to_s: float) -> bool:
        """Drop the firings at moments of [from_s, to_s], and what was said of any such moment at
        later ones; return whether there was any. How often it fired stays known.
        """
        was = [one.said for one in self.firings]
        gone = {
            one.id
            for one in self.firings
            if one.stream_id == stream_id and one.forget(from_s, to_s)
        }
        past = [one for one in self.firings if one.id not in gone]
        is_other = was != [one.said for one in past]
        self.firings = deque(past, maxlen=_FIRINGS)
        return is_other

    @property
    def noted_beside(self) -> str:
        """The id of the first stream whose note holds it."""
        return next((one.spec.id for one in self.on_streams), self.spec.stream_ids[0])

    @property
    def noted_on(self) -> set[str]:
        """Ids of all streams whose notes hold it: those that are watched."""
        return {self.noted_beside, *(one.spec.id for one in self.on_streams)}

    def is_noted_beside(self, stream_id: str) -> bool:
        return stream_id in self.noted_on and not self.is_declared

    @property
    def ids(self) -> dict[str, str]:
        """Its id, by the names that its events and webhooks use."""
        old = {"watch_id": self.id} if self.spec.told_as == "watch" else {}
        return {"alert_id": self.id, **old}

    @property
    def fired(self) -> int:
        return self.fired_on.total()

    @property
    def last_fired_at(self) -> float | None:
        """When it last fired, as far as that is not forgotten."""
        return self.firings[0].fired_at if self.firings else None

    @property
    def judged(self) -> int:
        """Moments judged so far."""
        return sum(alert.num_judged for alert in self.on_streams.values())

    @property
    def skipped(self) -> int:
        """Ticks that passed without a judgement."""
        return sum(alert.num_skipped for alert in self.on_streams.values())


@dataclass(frozen=True)
class FiredAlert:
    """An alert that has just fired."""

    alert: AlertRecord
    firing: Firing
    past: PastFiring

    @property
    def document(self) -> dict[str, Any]:
        """Return what events and webhooks carry, JSON-able; `evidence` best first. `sentence` is
        about what was seen since `from_s`; both are None until it is known.
        """
        said = self.past.said
        return {
            **self.alert.ids,
            "firing_id": self.past.id,
            "stream_id": self.past.stream_id,
            "condition": self.firing.condition,
            "at": self.past.at,
            **replace(self.firing, evidence=self.firing.evidence[:_EVIDENCE]).document(),
            "sentence": None if said is None else said.text,
            "from_s": None if said is None else said.from_s,
        }
