"""ApiKeys: an Authorization header in, the Caller that it names out, and what that one may do.

Keys are kept as salted SHA-256. A slow hash (scrypt, argon2) protects secrets that can be guessed,
as people's passwords; a key of 256 random bits cannot be, whatever the hash costs, and a slow hash
would let anyone burn the service's time with wrong keys. A master key that the operator thought up
instead is only accepted from 16 characters on, and is never written down by us.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from vstream import SettingsError
from vstream.device.shares import Holder
from vstream.sources.network_address import is_loopback

PAGE_TOKEN = "X-VStream-Page"
"""The header by which the page of the same process is known; it is good for nothing else."""
_MIN_MASTER_CHARACTERS = 16
_RESERVED_NAMES = {"master", "anyone"}


class Action(StrEnum):
    """What a key can be good for. `manage` implies all others, `ask` implies `read`."""

    READ = "read"
    """See streams, their frames and events; search."""
    ASK = "ask"
    PUSH = "push"
    """Push frames."""
    MANAGE = "manage"
    """Everything, with creating, deleting, forgetting and alerts."""


_IMPLIED = {
    Action.READ: {Action.READ},
    Action.ASK: {Action.ASK, Action.READ},
    Action.PUSH: {Action.PUSH},
    Action.MANAGE: set(Action),
}


class ScopedKey(BaseModel):
    """A key as the configuration holds it: what `vstream key` prints, never the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Who uses it; stands in logs.")
    hash: str = Field(
        pattern=r"^sha256:(?:[0-9a-f]{2}){8,64}:[0-9a-f]{64}$",
        description="What `vstream key` printed, as sha256:<salt>:<digest>.",
    )
    streams: tuple[str, ...] = Field(
        ("*",), min_length=1, description="Ids of streams; * and ? stand for any characters."
    )
    can: frozenset[Action] = Field(
        frozenset({Action.ASK}), min_length=1, description="read, ask, push, manage."
    )


@dataclass(frozen=True)
class Caller:
    name: str
    streams: tuple[str, ...] = ("*",)
    can: frozenset[Action] = frozenset({Action.MANAGE})
    holder: Holder | None = None
    """Whose places its requests take, where there are other keys."""

    def may(self, action: Action, stream_id: str | None) -> bool:
        """Whether this caller may do so to that stream.

        None is the service itself, not any one stream: it takes a key for all streams. To list
        streams ask nothing and show what is `visible`.
        """
        if not self.may_somewhere(action):
            return False
        if stream_id is None:
            return "*" in self.streams
        return any(fnmatchcase(stream_id, pattern) for pattern in self.streams)

    def may_somewhere(self, action: Action) -> bool:
        """Whether there can be a stream to which this caller may do so."""
        return any(action in _IMPLIED[granted] for granted in self.can)

    def visible(self, stream_ids: Iterable[str]) -> list[str]:
        """Those of the streams that this caller may read, in the same order."""
        return [stream_id for stream_id in stream_ids if self.may(Action.READ, stream_id)]


class ApiKeys:
    """The master key and the scoped keys, or none at all: then everyone may do everything."""

    def __init__(self, master: str | None, scoped: Sequence[ScopedKey] = ()) -> None:
        """Keep the keys' hashes. Raises SettingsError for a weak key or names that clash."""
        names = [key.name for key in scoped]
        for name in names:
            if names.count(name) > 1 or name in _RESERVED_NAMES:
                raise SettingsError(f"API keys: the name {name!r} is taken; give another one")
        is_alone = len(scoped) + (master is not None) == 1
        self._keys = []
        for key in scoped:
            holder = None if is_alone else Holder(key.name)
            caller = Caller(key.name, key.streams, key.can, holder)
            self._keys.append((*_salt_and_digest(key.hash), caller))
        if master is not None:
            _refuse_weak(master)
            holder = None if is_alone else Holder("master", is_limited=False)
            caller = Caller("master", holder=holder)
            self._keys.append((*_salt_and_digest(hash_of(master)), caller))

    @property
    def is_open(self) -> bool:
        return not self._keys

    def named(self, name: str) -> Caller | None:
        """The caller of that name, as long as there is one."""
        if self.is_open:
            return Caller("anyone") if name == "anyone" else None
        return next((caller for _, _, caller in self._keys if caller.name == name), None)

    def check(self, authorization_header: str | None) -> Caller | None:
        """The caller whose key this is (`Bearer KEY`), or None. Takes as long for every key."""
        if self.is_open:
            return Caller("anyone")
        scheme, _, key = (authorization_header or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found = None
        for salt, digest, caller in self._keys:
            if hmac.compare_digest(_digest(salt, key.strip()), digest):
                found = caller
        return found


def master_key(environment: Mapping[str, str]) -> str | None:
    """VSTREAM_API_KEY, or what the file in VSTREAM_API_KEY_FILE holds. Raises SettingsError."""
    key = environment.get("VSTREAM_API_KEY") or None
    file = environment.get("VSTREAM_API_KEY_FILE") or None
    if file is None:
        return key
    if key is not None:
        raise SettingsError("VSTREAM_API_KEY and VSTREAM_API_KEY_FILE are both set; unset one")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"VSTREAM_API_KEY_FILE: reading {file}: {error}; give a file that holds the key alone"
        ) from None


def refuse_bind(host: str, keys: ApiKeys, insecure: bool) -> None:
    """Raises SettingsError where other machines could reach a service that needs no key."""
    if keys.is_open and not insecure and not is_loopback(host):
        raise SettingsError(
            f"listening on {host or 'all addresses'} without a key would let everyone there watch "
            "and ask; set VSTREAM_API_KEY or VSTREAM_API_KEY_FILE (`vstream key` makes one), "
            "listen on 127.0.0.1, or say --insecure"
        )


def new_key() -> tuple[str, str]:
    """A key to give away and the hash of it to keep."""
    key = f"vstream_{secrets.token_urlsafe(32)}"
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """`sha256:<salt>:<digest>`, with a salt of its own each time."""
    salt = secrets.token_bytes(16)
    return f"sha256:{salt.hex()}:{_digest(salt, key).hex()}"


def _digest(salt: bytes, key: str) -> bytes:
    return hashlib.sha256(salt + key.encode("utf-8", "surrogatepass")).digest()


def _salt_and_digest(hash_: str) -> tuple[bytes, bytes]:
    _, salt, digest = hash_.split(":")
    return bytes.fromhex(salt), bytes.fromhex(digest)


def _refuse_weak(master: str) -> None:
    if len(master) < _MIN_MASTER_CHARACTERS:
        raise SettingsError(
            f"VSTREAM_API_KEY has {len(master)} characters, too few to keep anyone out; give at "
            f"least {_MIN_MASTER_CHARACTERS}, or what `vstream key` makes"
        )
    if not master.isascii() or not master.isprintable() or " " in master:
        raise SettingsError(
            "VSTREAM_API_KEY holds a character that HTTP headers do not carry; use letters, "
            "digits and punctuation without spaces, or what `vstream key` makes"
        )
