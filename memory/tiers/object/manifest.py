"""Manifest: all that an object store knows of one stream, in one object that is replaced whole.

PREFIX/streams/ID.json           the manifest
PREFIX/leases/ID                 its writer's sign of life
PREFIX/blocks/ID/NAME.vskv       a sealed segment, as the file tier writes them (see segment_file)
PREFIX/blocks/ID/NAME.index      what is known of its blocks, with their vectors: its snapshot
PREFIX/blocks/ID/state/NAME      what the memory policy had noted up to the last of them
PREFIX/blocks/ID/tail/FENCE/...  blocks behind them, with `memory.ack = replicated` (see tail)
"""

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self

from memory.block_info import Provenance
from memory.errors import StoreError
from memory.tiers.file.whole_files import checked, unchecked
from memory.tiers.object.object_link import ObjectLink, Tag

FORMAT_VERSION = 1
MANIFESTS, LEASES = "streams", "leases"


class SealedEntry(NamedTuple):
    """A segment that is complete and in the store. Rewritten it gets another name."""

    name: str
    """FIRST-GENERATION.FENCE"""
    num_bytes: int
    blocks: int
    from_s: float
    to_s: float

    @property
    def first(self) -> int:
        return int(self.name.partition("-")[0])

    @property
    def generation(self) -> int:
        return int(self.name.partition(".")[0].partition("-")[2])


@dataclass(frozen=True)
class Manifest:
    """Replaced by its writer alone, who is known by the fence."""

    provenance: Provenance
    fence: str
    """COUNT-NONCE: a later writer has a larger count."""
    writer: str
    version: int = 0
    """How often it was replaced."""
    note: dict[str, Any] = field(default_factory=dict)
    segments: tuple[SealedEntry, ...] = ()
    end: int = 0
    """The first block behind them."""
    state: str | None = None
    tail: str | None = None
    """The fence under which blocks behind them are to be found."""

    def to_bytes(self) -> bytes:
        return checked({"format_version": FORMAT_VERSION, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Raises StoreError if it is damaged, or was written by a newer version."""
        try:
            told = unchecked(data)
            version = told.pop("format_version")
            if version > FORMAT_VERSION:
                raise StoreError(
                    f"{where}: has format version {version}, this vstream reads up to version "
                    f"{FORMAT_VERSION}; open it with the newer vstream that wrote it"
                )
            made = cls(**{**told, "provenance": Provenance(**told["provenance"])})
            return replace(made, segments=tuple(SealedEntry(*one) for one in made.segments))
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise StoreError(f"{where}: is not a description of a stream ({error})") from error


def manifest_name(stream_id: str) -> str:
    return f"{MANIFESTS}/{stream_id}.json"


def read_manifest(
    link: ObjectLink, stream_id: str, unless: Tag | None = None
) -> tuple[Manifest, Tag] | None:
    """None if there is no such stream, or it is still that of `unless`."""
    name = manifest_name(stream_id)
    found = link.read(name, unless)
    return found and (Manifest.from_bytes(found[0], f"{link.name}: {name}"), found[1])
