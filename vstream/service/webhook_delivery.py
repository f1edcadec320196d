"""WebhookDelivery: delivers one signed message to a receiver, and retries until it is accepted.

Standard Webhooks (https://www.standardwebhooks.com), symmetric: receivers check a message with any
of its libraries, or by HMAC-SHA256 over `id.timestamp.body`. All attempts share one `webhook-id`,
so that a receiver can recognise a repetition; each has its own timestamp and signature. Failed
connections, timeouts, 408, 429 and 5xx are retried. A redirect is not followed and counts as a
refusal.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from vstream.errors import SettingsError
from vstream.sources.network_address import (
    AllowPrivate,
    ForbiddenAddressError,
    Resolver,
    permitted_addresses,
    resolve,
)

_MAX_READ_BYTES = 4096  # of a response, out of politeness; its content is ignored
_PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64  # what the specification allows


@dataclass(frozen=True)
class WebhookDelivery:
    """One message. URL and secret are never shown: for many services the path is a secret too.
    Raises SettingsError if they are malformed.
    """

    url: str = field(repr=False)
    secret: str = field(repr=False)
    body: bytes = field(repr=False)
    id: str = field(default_factory=lambda: f"msg_{uuid.uuid4().hex}")

    @classmethod
    def of(
        cls, url: str, secret: str, kind: str, at: float, data: dict[str, Any]
    ) -> "WebhookDelivery":
        """Make the standard's payload of type, time (seconds since the epoch) and data."""
        timestamp = datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")
        document = {"type": kind, "timestamp": timestamp, "data": data}
        return cls(url, secret, json.dumps(document, ensure_ascii=False).encode())

    def __post_init__(self) -> None:
        _host_and_port(self.url)
        signing_key(self.secret)

    @property
    def receiver(self) -> str:
        """Host and port, fit for logs; a receiver is slow or away as a whole."""
        host, port = _host_and_port(self.url)
        return f"{host}:{port}"


def shown_receiver(url: str) -> str:
    """Return `url` without its path: for many services anyone who knows the path may send there."""
    host, port = _host_and_port(url)
    shown = f"[{host}]" if ":" in host else host
    return f"{urlsplit(url).scheme.lower()}://{shown}:{port}/***"


@dataclass(frozen=True)
class RetryRule:
    """How often and how long a delivery is tried."""

    max_tries: int = 6
    total_s: float = 300.0
    """No attempt starts later than this after the first."""
    timeout_s: float = 10.0
    """For one attempt, from looking up the host to the end of the response."""
    min_wait_s: float = 1.0
    max_wait_s: float = 60.0
    """Even if the receiver asks for more (Retry-After)."""


@dataclass(frozen=True)
class WebhookOutcome:
    """The outcome of a delivery. `status` is the receiver's last one, if there was any."""

    delivery: WebhookDelivery
    delivered: bool
    tries: int
    status: int | None = None
    error: str | None = None


def check_receiver(
    url: str, secret: str, allow_private: AllowPrivate, resolver: Resolver = resolve
) -> None:
    """Check early that deliveries to a receiver are possible. Waits for the resolver. Raises
    SettingsError. Each delivery checks again the address that it connects to.
    """
    signing_key(secret)
    host, port = _host_and_port(url)
    try:
        permitted_addresses(host, port, allow_private, resolver)
    except ForbiddenAddressError as error:
        raise SettingsError(f"webhook URL: {error}; allow_private opens it") from None
    except OSError:
        raise SettingsError(f"webhook URL: no address for {host}; check its name") from None


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise SettingsError(f"webhook URL: {error}; give http(s)://HOST/PATH") from None
    if parts.scheme not in ("http", "https") or not parts.raw_host:
        raise SettingsError("webhook URL: it has no http(s) host; give http(s)://HOST/PATH")
    return parts.raw_host.decode("ascii"), parts.port or (443 if parts.scheme == "https" else 80)


def new_secret() -> str:
    """Make a secret for one receiver."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signing_key(secret: str) -> bytes:
    """Return the bytes that `secret` encodes. Raises SettingsError if there are too few or none."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise SettingsError(
            f"webhook secret: give {_PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} random bytes in "
            "base64, or leave it out to have one made"
        )
    return key


def signed_headers(message_id: str, at_s: int, body: bytes, secret: str) -> dict[str, str]:
    """Return the headers of one attempt at `at_s`, in seconds since the epoch."""
    signed = f"{message_id}.{at_s}.".encode() + body
    signature = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }


@dataclass(eq=False)
class _FailedError(Exception):
    reason: str
    status: int | None = None
    may_pass: bool = False
    after_s: float | None = None
    """How long the receiver asks us to wait."""


async def deliver(
    client: httpx.AsyncClient,
    delivery: WebhookDelivery,
    rule: RetryRule,
    turn: Callable[[], AbstractAsyncContextManager[object]],
) -> WebhookOutcome:
    """Try until it is accepted or given up. `turn()` is entered for each attempt, not for waits."""
    tries = 0
    retrying = AsyncRetrying(
        retry=retry_if_exception(lambda error: getattr(error, "may_pass", False)),
        stop=stop_after_attempt(rule.max_tries) | stop_before_delay(rule.total_s),
        wait=lambda state: _wait_s(state, rule),
        sleep=asyncio.sleep,
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                async with turn():
                    tries += 1
                    status = await _post(client, delivery, rule)
    except _FailedError as error:
        return WebhookOutcome(delivery, False, tries, error.status, error.reason)
    return WebhookOutcome(delivery, True, tries, status)


async def _post(client: httpx.AsyncClient, delivery: WebhookDelivery, rule: RetryRule) -> int:
    headers = {"content-type": "application/json"} | signed_headers(
        delivery.id, int(time.time()), delivery.body, delivery.secret
    )
    response: httpx.Response | None = None
    try:
        async with (
            asyncio.timeout(rule.timeout_s),
            client.stream("POST", delivery.url, content=delivery.body, headers=headers) as response,
        ):
            num_bytes = 0
            async for piece in response.aiter_raw():
                num_bytes += len(piece)
                if num_bytes >= _MAX_READ_BYTES:
                    break
    except ForbiddenAddressError as error:
        raise _FailedError(str(error)) from None
    except (httpx.TransportError, TimeoutError, OSError) as error:
        if response is None:  # else the status is there, and only the rest is missing
            reason = str(error) or f"no answer within {rule.timeout_s:g} s"
            raise _FailedError(reason, may_pass=True) from None
    assert response is not None
    status = response.status_code
    if response.is_success:
        return status
    may_pass = status in (408, 429) or status >= 500
    after_s = _retry_after_s(response.headers.get("retry-after", ""))
    raise _FailedError(f"the receiver said {status}", status, may_pass, after_s)


def _wait_s(state: RetryCallState, rule: RetryRule) -> float:
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, _FailedError) and error.after_s is not None:
        return min(max(error.after_s, 0.0), rule.max_wait_s)
    growing = wait_exponential(multiplier=rule.min_wait_s, max=rule.max_wait_s)
    return (growing + wait_random(0, rule.min_wait_s))(state)


def _retry_after_s(value: str) -> float | None:
    """Parse HTTP's Retry-After: seconds or a date."""
    if value.isascii() and value.isdecimal():
        return float(value[:9])
    try:
        return parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
