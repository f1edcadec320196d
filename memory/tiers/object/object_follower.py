"""ObjectFollower: reads the blocks of a stream that another process writes to an object store.

On the writer's own machine it reads the open segment in its folder; elsewhere it rebuilds it from
the tail, if there is one, in a temporary folder. It looks at what is not sealed first and at the
manifest afterwards, so it misses nothing that moves from one to the other.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from memory.errors import StreamReplacedError
from memory.fault import Fault
from memory.tiers.file.file_follower import FileFollower
from memory.tiers.file.segment_file import SegmentFile
from memory.tiers.file.segment_list import SegmentList
from memory.tiers.object.manifest import Manifest, SealedEntry, read_manifest
from memory.tiers.object.object_link import ObjectLink, Tag
from memory.tiers.object.sealed_segment import SealedReading, SealedSegment, fetched
from memory.tiers.object.tail import Tail


class ObjectFollower(SealedReading, FileFollower):
    """Writes nothing to the store."""

    name = "object"

    def __init__(
        self, link: ObjectLink, stream_id: str, found: tuple[Manifest, Tag], open_part: Path | None
    ) -> None:
        """`open_part` is the folder of the writer's open segment; None: on another machine."""
        self._temporary = None if open_part else TemporaryDirectory(prefix="vstream-tail-")
        folder = open_part or Path(self._temporary.name)  # type: ignore[union-attr]
        super().__init__(folder)
        self.link = link
        self._stream_id = stream_id
        self._manifest, self._tag = found
        self._is_settled = False
        """Whether the last look found the manifest unchanged."""
        self._tail = None if open_part else Tail(link, f"blocks/{stream_id}/", folder)
        self._entries: dict[Path, SealedEntry] = {}
        self._ahead: dict[Path, SealedSegment] = {}

    def close(self) -> None:
        super().close()
        self.link.close()
        if self._temporary:
            self._temporary.cleanup()

    def damage(self) -> list[Fault]:
        return SegmentList(None, self._manifest.counts).damage_of(self._segments)

    def _found(self) -> dict[int, Path]:
        """Raises StreamReplacedError, StoreError if the stream is gone."""
        if self._tail:
            self._tail.fill(self._manifest.tail, self._manifest.end)
        files = super()._found()
        before = self._manifest
        newer = read_manifest(self.link, self._stream_id, self._tag)
        self._is_settled = newer is None
        if newer:
            self._manifest, self._tag = newer
        manifest = self._manifest
        if manifest.fence != before.fence:
            raise StreamReplacedError(
                f"{self.link.name}: stream {self._stream_id} has a new writer; open it again"
            )
        if self._tail:
            self._tail.keep_from(manifest.end, manifest.state)
            for first, path in files.items():
                if first < manifest.end:
                    path.unlink()
        self.next_id = max(self.next_id, manifest.end)
        place = f"blocks/{self._stream_id}/"
        self._entries = {Path(f"{place}{entry.name}"): entry for entry in manifest.segments}
        known = {segment.path for segment in self._scanned.values()}
        new = {
            path: SealedSegment(self.link, str(path), entry, self._is_settled)
            for path, entry in self._entries.items()
            if path not in known
        }
        fetched(self.link, new.values())
        self._ahead = new
        sealed = {entry.first: path for path, entry in self._entries.items()}
        return dict(
            sorted({**{i: p for i, p in files.items() if i >= manifest.end}, **sealed}.items())
        )

    def _segment_at(self, path: Path, first: int) -> SegmentFile:
        return self._ahead.pop(path, None) or super()._segment_at(path, first)
