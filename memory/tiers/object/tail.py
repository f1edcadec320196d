"""Tail: keeps the blocks after the sealed segments in small objects, as they are appended.

BATCH-FIRST-OFFSET-NOTES    in a folder named after its writer's fence: NOTES bytes of the memory
                            policy's notes (see state_log), followed by the bytes from OFFSET on of
                            the segment whose first block is FIRST

Together, in a folder, they are the open segment in the file tier's format.
"""

import os
from pathlib import Path

from memory.tiers.file.file_tier import segment_path
from memory.tiers.file.whole_files import store_errors
from memory.tiers.object.object_link import ObjectLink


class Tail:
    """One stream's tail, rebuilt in a folder for a reader or the next writer."""

    def __init__(self, link: ObjectLink, blocks: str, folder: Path) -> None:
        self._link, self._blocks, self._folder = link, blocks, folder
        self._done: set[str] = set()
        self._notes: dict[str, bytes] = {}
        self._state: tuple[str | None, int] = None, 0

    def fill(self, fence: str | None, end: int) -> None:
        """Bring the folder up to date with the objects below a fence, from block `end` on."""
        if fence is None:
            return
        names = self._link.names(f"{self._blocks}tail/{fence}")
        new = [name for name in names if name not in self._done and _first(name) >= end]
        for name, found in zip(new, self._link.at_once(self._link.read, new), strict=True):
            if found is None:
                return  # it and everything before it have been sealed meanwhile
            _, first, offset, notes = map(int, name.rpartition("/")[2].split("-"))
            self._notes[name] = found[0][:notes]
            with store_errors(f"{self._folder}: cannot be written"):
                file = os.open(segment_path(self._folder, first, 0), os.O_RDWR | os.O_CREAT, 0o644)
                os.pwrite(file, found[0][notes:], offset)
                os.close(file)
            self._done.add(name)

    def keep_from(self, end: int, state: str | None) -> None:
        """Drop notes on sealed blocks, which the object `state` sums up, and write the rest."""
        self._notes = {name: notes for name, notes in self._notes.items() if _first(name) >= end}
        known = state, len(self._notes)
        if known == self._state:
            return
        found = self._link.read(f"{self._blocks}state/{state}") if state else None
        data = b"".join((found[0] if found else b"", *self._notes.values()))
        with store_errors(f"{self._folder}: cannot be written"):
            partial = self._folder / "policy.state.partial"
            partial.write_bytes(data)
            partial.replace(self._folder / "policy.state")
        self._state = known


def tail_name(batch: int, first: int, offset: int, notes: int) -> str:
    return f"{batch:08d}-{first:012d}-{offset:012d}-{notes}"


def _first(name: str) -> int:
    return int(name.rpartition("/")[2].split("-")[1])
