"""ObjectStream: holds the place of one stream in an object store, and its fence.

Each new writer changes the fence in the manifest. The manifest is replaced only if it is still the
one that was read, so the store itself refuses a former writer. A writer shows that it is alive by
its lease, an object that it writes every few seconds; no clock is trusted. The folder on this
machine for what is not sealed yet knows its writers' fences: it belongs to the stream only while
the manifest has one of them, and then nobody need wait for its writer if that died.
"""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from memory.block_info import Provenance
from memory.errors import BlockNotFoundError, FencedError, StoreAwayError, StoreError
from memory.locks import Rank, ranked_lock
from memory.stream_entry import StreamEntry
from memory.tiers.file.stream_directory import StreamDirectory, read_description
from memory.tiers.object.manifest import LEASES, Manifest, manifest_name, read_manifest
from memory.tiers.object.object_link import ObjectLink, Tag, TagRefusedError
from memory.tiers.tier import writer_name

LEASE_S = 10.0
BEAT_S = 3.0
FENCES = "fences"
_log = structlog.get_logger()


class ObjectStream(StreamEntry):
    """The writer, from construction until `close` or until it is fenced."""

    def __init__(
        self, link: ObjectLink, stream_id: str, provenance: Provenance | None, folder: Path
    ) -> None:
        """Create the stream, or check that its provenance is this one (None: any).

        Waits as long as a lease lasts if another machine's writer may have died. Raises StoreError
        that names the other writer if there is one, FingerprintMismatchError.
        """
        self.link, self.stream_id = link, stream_id
        self.failure: StoreError | None = None
        self.away: str | None = None
        self.lock = ranked_lock(Rank.MANIFEST)
        """Hold it while replacing the manifest."""
        self.wanted = threading.Event()
        """Set if `on_beat` has something to do."""
        self.on_beat: Callable[[], None] = lambda: None
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="sealer", daemon=True)
        self._unsure = False
        found = read_manifest(link, stream_id)
        if found is None and provenance is None:
            raise StoreError(f"{link.name}: there is no such stream: {stream_id}")
        if found and provenance:
            provenance.require_same(found[0].provenance, f"{link.name}: stream {stream_id}")
        make = found[0].provenance if found else provenance
        assert make is not None
        self.provenance, self.directory = make, StreamDirectory(folder, _made(folder, make))
        try:
            self.manifest, self._tag = self._taken(*(found or (None, None)))
        except BaseException:
            self.directory.close()
            raise
        self.note: dict[str, Any] = self.manifest.note
        self._beating.start()

    def set_note(self, note: dict[str, Any]) -> None:
        with self.lock:
            self.swap(note=note)

    def swap(self, **changes: Any) -> None:
        """Change fields of the manifest. Call it with the lock held.

        Raises FencedError; after StoreAwayError it may have happened (see `find_out`).
        """
        self.find_out()
        new = replace(self.manifest, **changes, version=self.manifest.version + 1)
        self._unsure = True
        with suppress(TagRefusedError):  # by another writer, or the reply to us was lost
            self._tag = self._put(new, self._tag)
            self.manifest, self._unsure = new, False
        self.find_out()
        if self.manifest.version != new.version:
            raise StoreAwayError(f"{self.link.name}: the manifest of {self.stream_id} has changed")
        self.note = new.note

    def find_out(self) -> None:
        """Find out whether a change without a reply happened. Raises what `swap` raises."""
        while self._unsure:
            found = read_manifest(self.link, self.stream_id)
            if found is None or found[0].fence != self.manifest.fence:
                raise self._fenced(found[0] if found else None)
            manifest, tag = found
            if manifest.version == self.manifest.version:
                manifest = replace(manifest, version=manifest.version + 2)
                try:  # whatever is still on its way then comes too late
                    tag = self._put(manifest, tag)
                except TagRefusedError:
                    continue
            self.manifest, self._tag, self._unsure = manifest, tag, False
            self.note = manifest.note

    def require_ours(self) -> None:
        """Ask the store if this is still the writer, with the lock held. Raises FencedError."""
        self.find_out()
        found = self.link.tag(manifest_name(self.stream_id))
        if found is None or found["e_tag"] != self._tag["e_tag"]:
            self._unsure = True
            self.find_out()

    def forget_undated(self) -> None:
        self.directory.forget_undated()

    def erase(self) -> None:
        """Delete everything of the stream, the manifest last."""
        self.stop_beating()
        self.link.delete(self.link.names(self.blocks_name("")))
        self.link.delete([manifest_name(self.stream_id)])
        self.failure = StoreError(f"{self.link.name}: stream {self.stream_id} is deleted")
        self.directory.erase()

    def blocks_name(self, name: str) -> str:
        return f"blocks/{self.stream_id}/{name}"

    def stop_beating(self) -> None:
        """Return once the thread makes no more calls."""
        self._ended.set()
        self.wanted.set()
        if self._beating.is_alive():
            self._beating.join()

    def close(self) -> None:
        self.stop_beating()
        if not isinstance(self.failure, FencedError):
            with suppress(StoreError):
                self.link.delete([f"{LEASES}/{self.stream_id}"])
        self.directory.close()
        self.link.close()

    def _put(self, manifest: Manifest, tag: Tag | None) -> Tag:
        return self.link.swap(manifest_name(self.stream_id), manifest.to_bytes(), tag)

    def _taken(self, found: Manifest | None, tag: Tag | None) -> tuple[Manifest, Tag]:
        fences = self.directory.note.get(FENCES, [])
        if found is not None and found.fence not in fences:
            self._wait_for_lease(found.writer)
        if fences and (found is None or found.fence not in fences):
            _log.warning("stream continued elsewhere: dropping unsealed blocks", id=self.stream_id)
            self.directory.erase()
            self.directory.close()
            self.directory = StreamDirectory(self.directory.path, self.provenance)
        count = int(found.fence.partition("-")[0]) + 1 if found else 1
        fence, writer = (
            f"{count:08d}-{secrets.token_hex(4)}",
            writer_name(),
        )
        # Before the manifest has it: whenever this process dies, the folder stays the stream's.
        self.directory.set_note({FENCES: [*([found.fence] if found else []), fence]})
        new = found or Manifest(self.provenance, fence, writer)
        new = replace(new, fence=fence, writer=writer, version=new.version + 1)
        try:
            return new, self._put(new, tag)
        except TagRefusedError:
            raise self._written_by("another process, which was faster") from None

    def _wait_for_lease(self, writer: str) -> None:
        """Return once the lease is gone or has not changed for long enough."""
        name, since = f"{LEASES}/{self.stream_id}", time.monotonic()
        first = self.link.tag(name)
        while first is not None and time.monotonic() - since < LEASE_S:
            time.sleep(0.2)
            now = self.link.tag(name)
            if now not in (first, None):
                raise self._written_by(writer)
            first = now

    def _written_by(self, writer: str) -> StoreError:
        return StoreError(
            f"{self.link.name}: stream {self.stream_id} is being written by {writer}; stop that "
            "first or choose another stream id"
        )

    def _fenced(self, found: Manifest | None) -> FencedError:
        who = f"{found.writer} writes" if found else "nobody keeps"
        self.failure = FencedError(
            f"{self.link.name}: {who} stream {self.stream_id} now; this one stops"
        )
        return self.failure

    def _beat(self) -> None:
        due = 0.0
        while not self._ended.is_set() and self.failure is None:
            try:
                if time.monotonic() >= due:
                    lease = f"{self.manifest.fence} {time.time()}"  # different each time
                    self.link.write(f"{LEASES}/{self.stream_id}", lease.encode())
                    due = time.monotonic() + BEAT_S
                    with self.lock:
                        self.require_ours()
                self.on_beat()
                self.away = None
            except StoreAwayError as error:
                self.away = str(error)
                self._ended.wait(1)
            except (StoreError, BlockNotFoundError) as error:
                self.failure = self.failure or StoreError(str(error))
            except Exception as error:  # noqa: BLE001  the next write raises it
                self.failure = StoreError(f"{self.link.name}: {type(error).__name__}: {error}")
            self.wanted.wait(max(0.0, due - time.monotonic()))
            self.wanted.clear()


def _made(folder: Path, make: Provenance) -> Provenance | None:
    """Return the provenance to create the folder with; None if the folder exists."""
    return make if read_description(folder) is None else None
