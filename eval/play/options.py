"""PlayOptions: the command-line options of a run, the same for all benchmarks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from eval.command_line import refusals, take_options
from eval.play.contender import FIND, FRAMES, LANGUAGE
from vstream import SettingsError

EMBEDDED = "embedded"
CONTENDER_FORM = "policy=NAME[,codec=NAME][,budget=SHARE][,plan=on][,SETTING=VALUE]"
DEFAULT_CONTENDERS = ["policy=default"]


@dataclass(frozen=True)
class Convention:
    """How a benchmark is published to be run; `sample_fps` None: every model at its own rate."""

    max_tokens: int
    sample_fps: float | None = None


@dataclass(frozen=True)
class PlayOptions:
    """None is the benchmark's convention, else the model's own recommendation."""

    model: Annotated[
        str | None,
        typer.Option(help="Play the videos: a checkpoint's directory, a hub id, or embedded."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the run; an interrupted one goes on in its own."),
    ] = None
    contenders: Annotated[
        list[str],
        typer.Option(
            "--contender",
            metavar=CONTENDER_FORM,
            help="Who answers; may be repeated, or a YAML file with a list of them. NAME is a "
            f"memory policy of the product (vstream policies), {FRAMES}, {LANGUAGE} or, where "
            f"moments are sought, {FIND}; all: every one.",
        ),
    ] = field(default_factory=DEFAULT_CONTENDERS.copy)
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Ask so many questions: the first, or drawn by --seed."),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Draws the questions of --limit, and answers if they are."),
    ] = None
    fps: Annotated[
        float | None,
        typer.Option(
            min=0.01, max=60, help="Frames a second; else as published, or the model's own."
        ),
    ] = None
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Longest answer; else as published, or 128.")
    ] = None
    temperature: Annotated[
        float, typer.Option(min=0, max=2, help="0: the best token each time.")
    ] = 0.0
    dedup: Annotated[
        float,
        typer.Option(
            min=0, max=255, help="Skip frames like the last, as a service does at 1.5; 0 keeps all."
        ),
    ] = 0.0
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with its own model.")] = 1
    device: Annotated[
        str, typer.Option(help="torch device; several, separated by commas, for workers in turn.")
    ] = "auto"

    @property
    def directory(self) -> Path:
        """Raises SettingsError without one: a run takes long, and must be found again."""
        if self.out is None:
            raise SettingsError("out: give --out, the directory where the run is kept and goes on")
        return self.out


def play_command(run: Callable[..., None]) -> Callable[..., None]:
    """Give `run` its own options and `play`: PlayOptions, or None. For published videos."""
    kinds = get_type_hints(PlayOptions, include_extras=True)
    options = {name: (kinds[name], default) for name, default in vars(PlayOptions()).items()}

    @wraps(run)
    def command(**given: Any) -> None:
        play = PlayOptions(**{name: given.pop(name) for name in options})
        with refusals():
            if play.model is not None:
                given["play"] = play
            run(**given)

    take_options(command, run, options, without=["play"])
    return command
