"""RunDirectory: what a run is in, the one directory out that holds all there is of it."""

import fcntl
import os
from pathlib import Path
from typing import Any, Self

from eval.run.description import FILE, RunDescription, Start
from eval.run.record_file import RecordFile
from vstream import SettingsError


class RunDirectory:
    """`run.json` says what is run, on what; the benchmark's records, scores and report lie beside.

    Used as a context by the one process that writes.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        """Begin or go on. Raises SettingsError if the directory belongs to another run."""
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        if not (path / FILE).exists():
            RunDescription(config).write(path)
        stored = RunDescription.read(path).config
        if stored != config:
            differing = [k for k in {**stored, **config} if stored.get(k) != config.get(k)]
            said = ", ".join(f"{k} {stored.get(k)!r} -> {config.get(k)!r}" for k in differing)
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
        found = RunDescription.read(self.path)
        RunDescription(found.config, (*found.starts, Start())).write(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def records(self, name: str) -> RecordFile:
        """Records that a killed run goes on with; `name` may lie in a folder."""
        return RecordFile(self.path / f"{name}.jsonl")
