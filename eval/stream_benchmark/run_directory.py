"""RunDirectory: where the records and blocks of one exam lie, for all policies tried on it."""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from eval.stream_benchmark.record import RecordFile
from vstream import SettingsError


class RunDirectory:
    """`run.json` says what is run; a line of `<policy>.jsonl` is a question that was answered."""

    def __init__(self, path: Path, exam: dict[str, Any]) -> None:
        """Begin or go on. Raises SettingsError if the directory belongs to another exam."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        described = path / "run.json"
        if not described.exists():
            partial = described.with_suffix(".json.partial")
            partial.write_text(json.dumps(exam, indent=2) + "\n", encoding="utf-8")
            partial.replace(described)
        stored = json.loads(described.read_text(encoding="utf-8"))
        if stored != exam:
            differing = [key for key in {**stored, **exam} if stored.get(key) != exam.get(key)]
            said = ", ".join(f"{key} {stored.get(key)!r} -> {exam.get(key)!r}" for key in differing)
            raise SettingsError(f"out: {path} holds another run ({said}); choose another directory")

    def __enter__(self) -> Self:
        """Keep other runs out until the end. Raises SettingsError if one is in."""
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SettingsError(
                f"out: another run is using {self.path}; wait for it or choose another directory"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def answers(self, policy: str) -> RecordFile:
        return RecordFile(self.path / f"{policy}.jsonl")

    def watches(self, policy: str) -> RecordFile:
        return RecordFile(self.path / f"{policy}.watches.jsonl")

    def ingests(self) -> RecordFile:
        """What is known of each set of blocks that is complete."""
        return RecordFile(self.path / "ingests.jsonl")

    @property
    def blocks(self) -> Path:
        """The store of all block files."""
        return self.path / "blocks"
