"""ApiKeys: find the Caller that an Authorization header names, and what it may do.

We store keys as salted SHA-256. A slow hash (scrypt, argon2) protects secrets that people can
guess, such as passwords. Nobody can guess a key of 256 random bits, and a slow hash would let
anyone burn the service's time with wrong keys. A master key that the operator makes up must have at
least 16 characters, and we never store it.
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
"""The header by which the service recognises its own page; it has no other effect."""
_MIN_MASTER_CHARACTERS = 16
_RESERVED_NAMES = {"master", "anyone"}


class Action(StrEnum):
    """What a key may allow. `manage` implies all others, `ask` implies `read`."""

    READ = "read"
    """See streams, their frames and events; search."""
    ASK = "ask"
    PUSH = "push"
    """Push frames."""
    MANAGE = "manage"
    """Everything, including creating, deleting, forgetting and alerts."""


_IMPLIED = {
    Action.READ: {Action.READ},
    Action.ASK: {Action.ASK, Action.READ},
    Action.PUSH: {Action.PUSH},
    Action.MANAGE: set(Action),
}


class ScopedKey(BaseModel):
    """A key in the settings: the hash that `vstream key` prints, never the key itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="Who uses it; shown in logs.")
    hash: str = Field(
        pattern=r"^sha256:(?:[0-9a-f]{2}){8,64}:[0-9a-f]{64}$",
        description="The hash that `vstream key` prints: sha256:<salt>:<digest>.",
    )
    streams: tuple[str, ...] = Field(
        ("*",), min_length=1, description="Ids of streams; * and ? are wildcards."
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
    """Whose share of places its requests take, if there are other keys."""

    def may(self, action: Action, stream_id: str | None) -> bool:
        """Whether this caller may take that action on that stream.

        None stands for the service itself, which takes a key for all streams. Listing streams needs
        no check: show those that are `visible`.
        """
        if not self.may_somewhere(action):
            return False
        if stream_id is None:
            return "*" in self.streams
        return any(fnmatchcase(stream_id, pattern) for pattern in self.streams)

    def may_somewhere(self, action: Action) -> bool:
        """Whether this caller may take that action on any stream at all."""
        return any(action in _IMPLIED[granted] for granted in self.can)

    def visible(self, stream_ids: Iterable[str]) -> list[str]:
        """The streams that this caller may read, in the same order."""
        return [stream_id for stream_id in stream_ids if self.may(Action.READ, stream_id)]


class ApiKeys:
    """The master key and the scoped keys. Without any key, everyone may do everything."""

    def __init__(self, master: str | None, scoped: Sequence[ScopedKey] = ()) -> None:
        """Store the keys' hashes. Raises SettingsError for a weak key or a duplicate name."""
        names = [key.name for key in scoped]
        for name in names:
            if names.count(name) > 1 or name in _RESERVED_NAMES:
                raise SettingsError(f"API keys: the name {name!r} is taken; choose another")
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
        """The caller whose key this is (`Bearer KEY`), or None. Takes constant time."""
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
    """Read VSTREAM_API_KEY, or the file named by VSTREAM_API_KEY_FILE. Raises SettingsError."""
    return secret_in(environment, "VSTREAM_API_KEY")


def secret_in(environment: Mapping[str, str], name: str) -> str | None:
    """Read the variable, or the file named by the variable NAME_FILE. Raises SettingsError."""
    secret = environment.get(name) or None
    file = environment.get(f"{name}_FILE") or None
    if file is None:
        return secret
    if secret is not None:
        raise SettingsError(f"{name} and {name}_FILE are both set; unset one")
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{name}_FILE: reading {file}: {error}; name a file that holds only the secret"
        ) from None


def refuse_bind(host: str, keys: ApiKeys, insecure: bool) -> None:
    """Raises SettingsError if other machines could reach a service that needs no key."""
    if keys.is_open and not insecure and not is_loopback(host):
        raise SettingsError(
            f"listening on {host or 'all addresses'} without a key would let anyone watch and ask; "
            "set VSTREAM_API_KEY or VSTREAM_API_KEY_FILE (`vstream key` makes a key), listen on "
            "127.0.0.1, or pass --insecure"
        )


def new_key() -> tuple[str, str]:
    """Generate a key to hand out, and its hash to keep."""
    key = f"vstream_{secrets.token_urlsafe(32)}"
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """`sha256:<salt>:<digest>`, with a new salt each time."""
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
            f"VSTREAM_API_KEY is too short: it has {len(master)} characters; use at least "
            f"{_MIN_MASTER_CHARACTERS}, or a key from `vstream key`"
        )
    if not master.isascii() or not master.isprintable() or " " in master:
        raise SettingsError(
            "VSTREAM_API_KEY holds a character that HTTP headers cannot carry; use letters, "
            "digits and punctuation without spaces, or a key from `vstream key`"
        )
