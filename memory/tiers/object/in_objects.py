"""InObjects: keeps streams in an object store, `object:///DIR`, or one of the schemes beside it.

What is not sealed yet lies on this machine: in the folder `?local=/DIR` at the end of the address,
else in ~/.local/state/vstream. It is no cache: with `memory.ack = local` it is the only copy.
"""

import os
import re
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from memory.block_info import Provenance
from memory.block_store import FollowedSource
from memory.config import MemoryConfig
from memory.errors import KVMemoryError, StoreError
from memory.stream_entry import StreamEntry
from memory.tiers.file.file_follower import FileFollower
from memory.tiers.file.in_files import SEGMENTS_IN_BUDGET
from memory.tiers.file.line_file import LineFile, lines_in
from memory.tiers.file.stream_directory import read_description, segments_folder
from memory.tiers.object.manifest import LEASES, MANIFESTS, Manifest, read_manifest
from memory.tiers.object.object_follower import ObjectFollower
from memory.tiers.object.object_link import ObjectLink, TagRefusedError
from memory.tiers.object.object_stream import FENCES, LEASE_S, ObjectStream
from memory.tiers.object.object_tier import ObjectTier
from memory.tiers.tier import FoundStream, StoredStream, StreamState, Tier, store_name

_LOCAL = re.compile(r"[^?]*(?:\?local=(/[^?#&]*))?")


class InObjects(Tier):
    """Streams may be live in other processes of any machine."""

    name = "object"
    lasts = True
    budget = "file_bytes"

    def __init__(self, store: str) -> None:
        super().__init__(store)
        local = _LOCAL.fullmatch(store)
        if local is None:
            raise StoreError(f"store {store_name(store)!r}: only local=/DIR may follow the ?")
        state = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser()
        root = Path(unquote(local[1])) if local[1] else state / "vstream"
        self._folder = root / sha256(store.partition("?")[0].encode()).hexdigest()[:16]

    def enter(self, stream_id: str, provenance: Provenance | None) -> ObjectStream:
        with ExitStack() as opened:
            link = ObjectLink(self.store)
            opened.callback(link.close)
            stream = ObjectStream(link, stream_id, provenance, self._folder / stream_id)
            opened.pop_all()
        return stream

    def blocks(self, entry: StreamEntry, config: MemoryConfig) -> ObjectTier:
        assert isinstance(entry, ObjectStream)
        segment_bytes = int(config.segment_bytes)
        if config.file_bytes is not None:
            segment_bytes = min(segment_bytes, config.file_bytes // SEGMENTS_IN_BUDGET)
        return ObjectTier(entry, segment_bytes, config.file_bytes, config.ack == "replicated")

    def follow(self, stream_id: str) -> tuple[Provenance, FollowedSource]:
        with ExitStack() as opened:
            link = ObjectLink(self.store)
            opened.callback(link.close)
            found = read_manifest(link, stream_id)
            if found is None:
                raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
            follower = ObjectFollower(link, stream_id, found, self._open_part(stream_id, found[0]))
            opened.pop_all()
        return found[0].provenance, follower

    def lines(self, name: str, most: int) -> LineFile:
        """Return lines kept on this machine."""
        return LineFile(self._folder / f".{name}.jsonl", most)

    def kept_lines(self, name: str, most: int) -> list[str]:
        return lines_in(self._folder / f".{name}.jsonl")

    def ids(self) -> list[str]:
        with closing(ObjectLink(self.store)) as link:
            return [Path(name).stem for name in link.names(MANIFESTS)]

    def streams(self) -> list[StoredStream]:
        """Describe what is sealed, and what is open on this machine."""
        with closing(ObjectLink(self.store)) as link:
            return list(link.at_once(lambda i: self._described(link, i), self.ids()))

    def find(self, stream_id: str) -> FoundStream | None:
        with closing(ObjectLink(self.store)) as link:
            found = read_manifest(link, stream_id)
            state = _state(link, stream_id)
        if found is None:
            return None
        writer = found[0].writer if state == "live" else None
        return FoundStream(found[0].provenance, state, found[0].note, writer=writer)

    def erase(self, stream_id: str) -> None:
        """Delete a stream, even if its blocks cannot be read."""
        with closing(self.enter(stream_id, None)) as stream:
            stream.erase()

    def check(self) -> str:
        """Check that the store refuses to replace a changed object, on which everything depends."""
        with closing(ObjectLink(self.store)) as link:
            name = f"checks/{uuid4()}"
            first = link.swap(name, b"1", None)
            try:
                link.swap(name, b"2", first)
                with suppress(TagRefusedError):
                    link.swap(name, b"3", first)
                    raise StoreError(f"{link.name}: ignores If-Match: two writers would mix")
            finally:
                link.delete([name])
            return f"{link.name} can be written; open segments lie in {self._folder}"

    def _open_part(self, stream_id: str, manifest: Manifest) -> Path | None:
        """Return the folder of the writer's open segment, if it is on this machine."""
        described = read_description(self._folder / stream_id)
        if described is None or manifest.fence not in described.note.get(FENCES, []):
            return None
        return segments_folder(self._folder / stream_id)

    def _described(self, link: ObjectLink, stream_id: str) -> StoredStream:
        described = StoredStream(stream_id, "stored", 0, 0.0, 0.0, {self.name: 0})
        try:
            described = replace(described, state=_state(link, stream_id))
            found = read_manifest(link, stream_id)
            if found is None:
                return described
            manifest, infos, num_bytes = found[0], [], 0
            if (folder := self._open_part(stream_id, manifest)) is not None:
                with closing(FileFollower(folder)) as follower:
                    heads = [h for h in follower.recover() if h.block_id >= manifest.end]
                    infos, num_bytes = [head.info for head in heads], follower.num_bytes
            sealed = manifest.segments
            return replace(
                described,
                blocks=sum(one.blocks for one in sealed) + len(infos),
                from_s=min([*(s.from_s for s in sealed), *(i.start_s for i in infos)], default=0.0),
                to_s=max([*(s.to_s for s in sealed), *(i.end_s for i in infos)], default=0.0),
                bytes_by_tier={"object": num_bytes + sum(one.num_bytes for one in sealed)},
            )
        except KVMemoryError as error:
            return replace(described, error=str(error))


def _state(link: ObjectLink, stream_id: str) -> StreamState:
    """Return live while its writer's lease is new by this machine's clock, else stored."""
    at = link.written_at(f"{LEASES}/{stream_id}")
    return "live" if at and (datetime.now(UTC) - at).total_seconds() < LEASE_S else "stored"
