"""RunDescription is `run.json`: what a run is, and when, how and on what it was started."""

import json
import platform
import re
import shlex
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import eval
from eval.run.hardware import Hardware
from eval.run.record_file import write_whole
from vstream import SettingsError

FILE = "run.json"
_KEY = re.compile(r"(--[\w-]*-key[ =])('[^']*'|\S+)")
"""What follows an option that ends in `-key` is a secret, and a run is shown to others."""
LIBRARIES = ("vstream", "torch", "transformers", "tokenizers", "numpy", "av", "faiss-cpu")


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
            command=_KEY.sub(r"\1***", f"python -m eval {shlex.join(sys.argv[1:])}"),
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
