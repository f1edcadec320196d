"""OwedWebhook: keeps a message as a line until it has been delivered.

If the process dies in between, the next service that watches the stream sends it, so a receiver may
get a message twice, under one id. The line holds neither the address nor the secret: those stay
with the alert or the recap.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from vstream.service.alert_spec import WebhookSpec
from vstream.service.webhook_delivery import WebhookDelivery

MOST = 4096
"""How many are kept, the newest ones."""


@dataclass(frozen=True)
class OwedWebhook:
    """One message. `source` is the id of the alert or recap, `to` a digest of the address."""

    id: str
    source: str
    to: str
    stream_id: str
    oldest_s: float | None
    """The moment of the stream that it is about; None if there is no single one, as for a recap."""
    body: str

    @classmethod
    def of_delivery(
        cls, delivery: WebhookDelivery, source: str, stream_id: str, at_s: float | None = None
    ) -> Self:
        body = delivery.body.decode()
        return cls(delivery.id, source, _digest(delivery.url), stream_id, at_s, body)

    def delivery(self, actions: Iterable[WebhookSpec]) -> WebhookDelivery | None:
        """Return the delivery to its receiver, if that is still among the actions."""
        for action in actions:
            if _digest(action.url) == self.to and action.secret is not None:
                return WebhookDelivery(action.url, action.secret, self.body.encode(), self.id)
        return None

    @property
    def line(self) -> str:
        """JSON for `of` to read."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read a parsed `line`. Raises TypeError, ValueError for anything else."""
        return cls(**document)

    def without(self, stream_id: str, from_s: float, to_s: float) -> Self | None:
        """Return what is left of it once [from_s, to_s] of that stream is forgotten; see Event."""
        if self.stream_id != stream_id or self.oldest_s is None or self.oldest_s < from_s:
            return self
        if self.oldest_s <= to_s:
            return None
        document = json.loads(self.body)
        if document["data"]["sentence"] is None or document["data"]["from_s"] > to_s:
            return self
        document["data"]["sentence"] = None
        return replace(self, body=json.dumps(document, ensure_ascii=False))


def _digest(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:16]
