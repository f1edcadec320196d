"""PlayOptions: what a user may choose of a run, the same for all benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vstream import SettingsError

EMBEDDED = "embedded"


@dataclass(frozen=True)
class Convention:
    """How a benchmark is published to be run, where it says so.

    `sample_fps` None: every model at its own rate. `max_tokens` is how long an answer may get.
    """

    max_tokens: int
    sample_fps: float | None = None


def out_of(out: Path | None) -> Path:
    """Raises SettingsError without one: a run takes long, and must be found again."""
    if out is None:
        raise SettingsError("out: give --out, the directory where the run is kept and goes on")
    return out


@dataclass(frozen=True)
class PlayOptions:
    """None is the benchmark's convention, then the model's own recommendation."""

    model: str
    out: Path
    contenders: Sequence[str] = ("policy=default",)
    limit: int | None = None
    seed: int | None = None
    fps: float | None = None
    max_tokens: int | None = None
    temperature: float = 0.0
    dedup: float = 0.0
    workers: int = 1
    device: str = "auto"
