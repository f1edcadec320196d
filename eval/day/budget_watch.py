"""BudgetWatch: a folder in, the most bytes that it and this process took up while it was watched.

A thread looks every few milliseconds, so that a copy is seen that exists only while old blocks are
written anew.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

EVERY_S = 0.02
_DISK_BLOCK_BYTES = 512


@dataclass
class Peaks:
    """`file_bytes` are the lengths of all files, `disk_bytes` what they take up on disk (du)."""

    file_bytes: int = 0
    disk_bytes: int = 0
    rss_bytes: int = 0
    num_looks: int = 0


class BudgetWatch:
    """Watches from `with` until its end, but not while somebody holds `quiet`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = psutil.Process()
        self._ended = threading.Event()
        self.quiet = threading.Lock()
        """To be held while something is timed and nothing is written."""
        self._thread = threading.Thread(target=self._run, name="budget-watch", daemon=True)
        self.peaks = Peaks()

    def look(self) -> None:
        """Look once more, now."""
        sizes = [_sizes(path) for path in self._folder.rglob("*")]
        peaks = self.peaks
        peaks.file_bytes = max(peaks.file_bytes, sum(length for length, _ in sizes))
        peaks.disk_bytes = max(peaks.disk_bytes, sum(taken for _, taken in sizes))
        peaks.rss_bytes = max(peaks.rss_bytes, self._process.memory_info().rss)
        peaks.num_looks += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            with self.quiet:
                self.look()


def _sizes(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:  # renamed or gone since it was listed
        return 0, 0
    return (found.st_size, found.st_blocks * _DISK_BLOCK_BYTES) if path.is_file() else (0, 0)
