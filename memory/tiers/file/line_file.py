"""LineFile: lines in a private file with one writer."""

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from memory.errors import StoreError
from memory.line_log import LineLog
from memory.tiers.file.whole_files import append_whole, flush_folder, store_errors

_SPARE = 8
"""The file is rewritten once it has an eighth more lines than are kept."""


class LineFile(LineLog):
    """The newest `most` lines, and some more. A truncated line stays a line of its own."""

    def __init__(self, path: Path, most: int) -> None:
        """Open or create it. Raises StoreError, also if another process writes it."""
        self.path = path
        self._most = most
        self._fd = -1
        with store_errors(f"{path}: cannot be written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = self._opened(path)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._fd)
                raise StoreError(f"{path}: is being written by another process") from None
        try:
            content = self._content()
            self._num_lines = content.count(b"\n")
            if content and not content.endswith(b"\n"):
                self._write(self._fd, b"\n")
        except StoreError:
            os.close(self._fd)
            raise

    def read(self) -> list[str]:
        return lines_in(self.path)[-self._most :]

    def append(self, lines: Sequence[str]) -> None:
        self._write(self._fd, _joined(lines))
        self._num_lines += len(lines)
        if self._num_lines > self._most + self._most // _SPARE:
            with suppress(StoreError):  # the lines are written; the next call retries
                self.rewrite(lambda line: line)

    def rewrite(self, change: Callable[[str], str | None]) -> None:
        left = [text for line in self.read() if (text := change(line)) is not None]
        partial = self.path.with_name(f"{self.path.name}.partial")
        with store_errors(f"{self.path}: cannot be written"):
            partial.unlink(missing_ok=True)
            made = self._opened(partial)
            try:
                fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._write(made, _joined(left))
                os.fsync(made)
                partial.replace(self.path)
            except (OSError, StoreError):
                os.close(made)
                partial.unlink()
                raise
            old, self._fd, self._num_lines = self._fd, made, len(left)
            os.close(old)
            flush_folder(self.path.parent)

    def close(self) -> None:
        """Close the file, and delete it if it has no lines."""
        if self._fd >= 0:
            with suppress(OSError):
                if os.fstat(self._fd).st_size == 0:
                    self.path.unlink()
            os.close(self._fd)
            self._fd = -1

    def _opened(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _content(self) -> bytes:
        with store_errors(f"{self.path}: cannot be read"):
            return self.path.read_bytes()

    def _write(self, fd: int, content: bytes) -> None:
        """Write all of it or nothing."""
        with store_errors(f"{self.path}: cannot be written"):
            append_whole(fd, content)


def lines_in(path: Path) -> list[str]:
    """Return all lines of such a file while another process may write it; none without a file.
    Raises StoreError.
    """
    with store_errors(f"{path}: cannot be read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
    return content.decode("utf-8", "replace").split("\n")[:-1]


def _joined(lines: Sequence[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
