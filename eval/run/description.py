"""RunDescription is `run.json`: what a run is, and when, how and on what it was started."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import psutil
import torch

import eval
from eval.run.record_file import write_whole
from vstream import SettingsError

FILE = "run.json"
_HIDDEN = "***"
LIBRARIES = ("vstream", "torch", "transformers", "tokenizers", "numpy", "av", "faiss-cpu")


@dataclass(frozen=True)
class Hardware:
    """`cores` are those this process may use; `device` is the graphics card's name, if there is."""

    cpu: str
    cores: int
    ram_bytes: int
    device: str | None
    num_devices: int
    torch_threads: int

    @classmethod
    def here(cls) -> "Hardware":
        num_devices = torch.cuda.device_count()
        return cls(
            cpu=_cpu_model(),
            cores=_cores(),
            ram_bytes=psutil.virtual_memory().total,
            device=torch.cuda.get_device_name(0) if num_devices else None,
            num_devices=num_devices,
            torch_threads=torch.get_num_threads(),
        )

    def __str__(self) -> str:
        device = f"{self.num_devices} x {self.device}" if self.device else "no GPU"
        return (
            f"{self.cpu}, {self.cores} cores, {self.ram_bytes / 2**30:.0f} GiB, {device}, "
            f"{self.torch_threads} torch threads"
        )


@dataclass(frozen=True)
class Start:
    """One start of the command: a run that was killed is started again, perhaps elsewhere."""

    command: str
    date: str
    commit: str | None
    """Of the source tree; `+` at its end: with changes that are in no commit."""
    versions: dict[str, str]
    hardware: Hardware

    @classmethod
    def now(cls) -> "Start":
        return cls(
            command=f"python -m eval {shlex.join(_without_keys(sys.argv[1:]))}",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=_commit(),
            versions=_versions(),
            hardware=Hardware.here(),
        )

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> "Start":
        return cls(**{**document, "hardware": Hardware(**document["hardware"])})


@dataclass(frozen=True)
class RunDescription:
    """`config` is all that must agree for records to belong together: benchmark, seed, model ..."""

    config: dict[str, Any]
    starts: tuple[Start, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> "RunDescription":
        """Raises SettingsError for a file that another version has left there."""
        document = json.loads((directory / FILE).read_text(encoding="utf-8"))
        if set(document) != {"config", "starts"}:
            raise SettingsError(f"{directory / FILE}: written by another version; take a new one")
        starts = tuple(Start.from_json(start) for start in document["starts"])
        return cls(document["config"], starts)

    def write(self, directory: Path) -> None:
        write_whole(directory / FILE, json.dumps(asdict(self), indent=2) + "\n")

    def started(self) -> Self:
        """The same, started once more, here and now."""
        return replace(self, starts=(*self.starts, Start.now()))


def _without_keys(words: Sequence[str]) -> list[str]:
    """What follows an option that ends in `-key` is a secret, and a run is shown to others."""
    shown: list[str] = []
    for word in words:
        option, has_value, _ = word.partition("=")
        if shown and _is_key(shown[-1]):
            shown.append(_HIDDEN)
        else:
            shown.append(f"{option}={_HIDDEN}" if has_value and _is_key(option) else word)
    return shown


def _is_key(option: str) -> bool:
    return option.startswith("--") and option.endswith("-key")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _commit() -> str | None:
    """None outside a clone of the repository."""
    root = Path(eval.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    head = _git(root, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return f"{head}+" if _git(root, "status", "--porcelain", "--untracked-files=no") else head


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    """As Linux names it; elsewhere what Python knows."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
