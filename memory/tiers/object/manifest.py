"""Manifest: describes one stream in an object store, in one object that is replaced whole.

PREFIX/streams/ID.json           the manifest
PREFIX/leases/ID                 its writer's lease
PREFIX/blocks/ID/NAME.vskv       a sealed segment, in the file tier's format (see segment_file)
PREFIX/blocks/ID/NAME.index      its snapshot: the description of its blocks, with their vectors
PREFIX/blocks/ID/state/NAME      the memory policy's notes up to the last sealed block
PREFIX/blocks/ID/tail/FENCE/...  later blocks, with `memory.ack = replicated` (see tail)
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
    """A complete segment in the store. Rewriting it gives it another name."""

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
    """The manifest; only the writer with its fence may replace it."""

    provenance: Provenance
    fence: str
    """COUNT-NONCE: a later writer has a larger count."""
    writer: str
    version: int = 0
    """How often it was replaced."""
    note: dict[str, Any] = field(default_factory=dict)
    segments: tuple[SealedEntry, ...] = ()
    end: int = 0
    """The first block after the segments."""
    state: str | None = None
    tail: str | None = None
    """The fence under which the later blocks lie."""

    @property
    def counts(self) -> dict[int, int]:
        """How many blocks each segment holds, by its first block."""
        return {segment.first: segment.blocks for segment in self.segments}

    def to_bytes(self) -> bytes:
        return checked({"format_version": FORMAT_VERSION, **asdict(self)}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Self:
        """Raises StoreError if it is damaged, or was written by a newer version."""
        try:
            facts = unchecked(data)
            version = facts.pop("format_version")
            if version > FORMAT_VERSION:
                raise StoreError(
                    f"{where}: has format version {version}, this vstream reads up to version "
                    f"{FORMAT_VERSION}; open it with the newer vstream that wrote it"
                )
            made = cls(**{**facts, "provenance": Provenance(**facts["provenance"])})
            return replace(made, segments=tuple(SealedEntry(*one) for one in made.segments))
        except (ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
            raise StoreError(f"{where}: is not a description of a stream ({error})") from error


def manifest_name(stream_id: str) -> str:
    return f"{MANIFESTS}/{stream_id}.json"


def read_manifest(
    link: ObjectLink, stream_id: str, unless: Tag | None = None
) -> tuple[Manifest, Tag] | None:
    """Read a manifest; None if there is no such stream, or if its version is still `unless`."""
    name = manifest_name(stream_id)
    found = link.read(name, unless)
    return found and (Manifest.from_bytes(found[0], f"{link.name}: {name}"), found[1])
