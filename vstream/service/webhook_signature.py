"""Webhook signature: a message and a secret in, the headers that prove who sent it out.

Standard Webhooks (https://www.standardwebhooks.com), symmetric: receivers check them with any of
its libraries, or by HMAC-SHA256 over `id.timestamp.body`.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

from vstream.errors import SettingsError

_PREFIX = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64  # what the specification allows


def new_secret() -> str:
    """A secret for one receiver."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signing_key(secret: str) -> bytes:
    """The bytes that `secret` stands for. Raises SettingsError if they are none or too few."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        raise SettingsError(
            f"webhook secret: give {_PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} random bytes in "
            "base64, or none, and one is made"
        )
    return key


def signed_headers(message_id: str, at_s: int, body: bytes, secret: str) -> dict[str, str]:
    """The headers of one attempt at `at_s`, in seconds since the epoch."""
    signed = f"{message_id}.{at_s}.".encode() + body
    signature = hmac.new(signing_key(secret), signed, hashlib.sha256).digest()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at_s),
        "webhook-signature": "v1," + base64.b64encode(signature).decode(),
    }
