"""PastFiring: what is kept of one firing of an alert, and how a stream's note holds it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vstream.question import Saying


@dataclass(eq=False)
class PastFiring:
    """The frame that decided it was captured at `at`, in seconds since the epoch, and is at `at_s`
    of the stream. It shows that the condition was met; moments read beside it need not.
    """

    id: int
    """Unique among all firings of a service, and rising with time."""
    stream_id: str
    at: float
    at_s: float
    probability: float
    fired_at: float
    said: Saying | None = None
    """What the model says about it; None: nothing yet, or it is forgotten."""
    is_seen: bool = False
    """Whether somebody who may see the stream has seen it."""

    @property
    def sentence(self) -> str | None:
        """Empty if the model says nothing."""
        return None if self.said is None else self.said.text

    @property
    def noted(self) -> dict[str, Any]:
        """What the note of its stream holds of it."""
        said = None if self.said is None else [self.said.text, self.said.from_s]
        facts = {name: value for name, value in vars(self).items() if name != "stream_id"}
        return {**facts, "said": said}

    @classmethod
    def of(cls, stream_id: str, noted: Mapping[str, Any]) -> "PastFiring":
        """Read it back. Raises KeyError, TypeError, ValueError for what was not `noted`."""
        said = None if noted["said"] is None else Saying(*noted["said"])
        return cls(**{**noted, "stream_id": stream_id, "said": said})

    def forget(self, from_s: float, to_s: float) -> bool:
        """Forget what was said of any moment of [from_s, to_s]; return whether all must go."""
        if from_s <= self.at_s <= to_s:
            return True
        if self.said is not None and self.said.from_s <= to_s and self.at_s >= from_s:
            self.said = None
        return False


def left_of(
    firings: Mapping[str, Any], stream_id: str, from_s: float, to_s: float
) -> dict[str, Any]:
    """Return the firings in a stream's note, by alert, once [from_s, to_s] is forgotten."""
    left = {}
    for alert_id, noted in firings.items():
        past = [PastFiring.of(stream_id, one) for one in noted["kept"]]
        kept = [one.noted for one in past if not one.forget(from_s, to_s)]
        left[alert_id] = {**noted, "kept": kept}
    return left
