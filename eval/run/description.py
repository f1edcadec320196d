"""RunDescription is `run.json`: what a run is, and when, how and on what it was started."""

import json
import os
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from pydantic import TypeAdapter

import eval
from eval.run.record_file import write_whole
from vstream import SettingsError

FILE = "run.json"
LIBRARIES = ("vstream", "torch", "transformers", "tokenizers", "numpy", "av", "faiss-cpu")


def _cpu_model() -> str:
    """As Linux names it; elsewhere what Python knows."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Hardware:
    """This machine, unless said otherwise. `cores` are those this process may use; `device` is the
    graphics card's name, if there is.
    """

    cpu: str = field(default_factory=_cpu_model)
    cores: int = field(default_factory=_cores)
    ram_bytes: int = field(default_factory=lambda: psutil.virtual_memory().total)
    device: str | None = field(
        default_factory=lambda: torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    )
    num_devices: int = field(default_factory=torch.cuda.device_count)
    torch_threads: int = field(default_factory=torch.get_num_threads)

    def __str__(self) -> str:
        device = f"{self.num_devices} x {self.device}" if self.device else "no GPU"
        return (
            f"{self.cpu}, {self.cores} cores, {self.ram_bytes / 2**30:.0f} GiB, {device}, "
            f"{self.torch_threads} torch threads"
        )


def _command() -> str:
    """What follows an option that ends in `-key` is a secret, and a run is shown to others."""
    shown: list[str] = []
    for word in sys.argv[1:]:
        is_secret = shown and re.fullmatch(r"--.*-key", shown[-1])
        shown.append("***" if is_secret else re.sub(r"(?s)^(--[^=]*-key=).*", r"\1***", word))
    return f"python -m eval {shlex.join(shown)}"


def _commit() -> str | None:
    """None outside a clone of the repository."""
    root = Path(eval.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    words = [
        "git",
        "-C",
        str(root),
        "describe",
        "--always",
        "--exclude=*",
        "--abbrev=12",
        "--dirty=+",
    ]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Start:
    """One start of the command, by default this one: a run that was killed is started again,
    perhaps elsewhere.
    """

    command: str = field(default_factory=_command)
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    commit: str | None = field(default_factory=_commit)
    """Of the source tree; `+` at its end: with changes that are in no commit."""
    versions: dict[str, str] = field(default_factory=_versions)
    hardware: Hardware = field(default_factory=Hardware)


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
        return TypeAdapter(cls).validate_python(document)

    def write(self, directory: Path) -> None:
        write_whole(directory / FILE, json.dumps(asdict(self), indent=2) + "\n")
