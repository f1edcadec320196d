"""RunDirectory: the one directory that holds everything of a run.

RunDescription is its `run.json`: what the run is, and when, how and where it was started. A killed
run resumes from its records files; all other files are written whole.
"""

import fcntl
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import psutil
import torch

import eval
from vstream import SettingsError

FILE = "run.json"
LIBRARIES = ("vstream", "torch", "transformers", "tokenizers", "numpy", "av", "faiss-cpu")


def _cpu_model() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def hardware() -> dict[str, Any]:
    """Describe this machine: `cores` available to this process, the graphics card's name."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1,
        "ram_bytes": psutil.virtual_memory().total,
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "num_devices": torch.cuda.device_count(),
        "torch_threads": torch.get_num_threads(),
    }


def hardware_words(of: Mapping[str, Any]) -> str:
    device = f"{of['num_devices']} x {of['device']}" if of["device"] else "no GPU"
    return (
        f"{of['cpu']}, {of['cores']} cores, {of['ram_bytes'] / 2**30:.0f} GiB, {device}, "
        f"{of['torch_threads']} torch threads"
    )


def _command() -> str:
    """Hide what follows an option ending in `-key`: a secret, while runs are shown to others."""
    shown: list[str] = []
    for word in sys.argv[1:]:
        is_secret = shown and re.fullmatch(r"--.*-key", shown[-1])
        shown.append("***" if is_secret else re.sub(r"(?s)^(--[^=]*-key=).*", r"\1***", word))
    return f"python -m eval {shlex.join(shown)}"


def _commit() -> str | None:
    """Return that of the source tree, None outside a clone of the repository; a `+` at its end
    means uncommitted changes.
    """
    root = Path(eval.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    words = ("git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+")
    try:
        told = subprocess.check_output(words, cwd=root, stderr=subprocess.DEVNULL, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return told.decode().strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class RunDescription:
    """`config`: what must agree for records to belong together: benchmark, seed, model ... `starts`
    are those of the command: a killed run is started again, perhaps elsewhere.
    """

    config: dict[str, Any]
    starts: Sequence[dict[str, Any]] = ()

    @classmethod
    def read(cls, directory: Path) -> "RunDescription":
        """Raises SettingsError for a file left by another version."""
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        if set(document) != {"config", "starts"}:
            raise SettingsError(f"{directory / FILE}: written by another version; take a new one")
        return cls(**document)

    def write(self, directory: Path) -> None:
        write_whole(directory / FILE, json.dumps(asdict(self), indent=2) + "\n")


class RecordFile:
    """JSON documents, one per line, append-only. Cuts off the unfinished line of a killed run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.documents: list[dict[str, Any]] = []
        if path.exists():
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                os.truncate(path, len(whole))
            self.documents = [json.loads(line) for line in whole.splitlines()]

    def append(self, document: dict[str, Any], *, to_disk: bool = False) -> None:
        """Add a line and hand it to the operating system; with `to_disk`, wait for the disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(document, allow_nan=False) + "\n")
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        self.documents.append(document)


def write_whole(path: Path, text: str) -> None:
    """Write beside it, then replace: the file is the old or the new one, never part of it."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def write_lines(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """Replace the file with these documents, one per line."""
    lines = [json.dumps(document, allow_nan=False) + "\n" for document in documents]
    write_whole(path, "".join(lines))


def read_lines(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


class RunDirectory:
    """`run.json` says what is run; everything else lies beside it. A context for the writer."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        """Start or resume a run. Raises SettingsError if the directory belongs to another run."""
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
        """Keep other runs out until the end. Raises SettingsError if one is using it."""
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SettingsError(
                f"out: another run is using {self.path}; wait for it or choose another directory"
            ) from None
        found = RunDescription.read(self.path)
        start = {
            "command": _command(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": _commit(),
            "versions": _versions(),
            "hardware": hardware(),
        }
        RunDescription(found.config, (*found.starts, start)).write(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lock)

    def records(self, name: str) -> RecordFile:
        """Return records that a killed run resumes from; `name` may include a folder."""
        return RecordFile(self.path / f"{name}.jsonl")
