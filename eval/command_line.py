"""What the commands of `python -m eval` share: options, error handling and progress."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from memory import KVMemoryError
from vstream import VStreamError
from vstream.device.cpu_threads import choose_cpu_threads

AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON document.")]
Checkpoint = Annotated[str | None, typer.Option(help="Another checkpoint than the embedded one.")]
Names = Annotated[Literal["core", "full"], typer.Option(help="The objects that may appear.")]
Out = Annotated[
    Path | None, typer.Option(help="Where records are kept, and an interrupted run goes on.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; else measured.")]


@contextmanager
def refusals(hint: str = "choose another file") -> Iterator[None]:
    """Turn errors of the engine or the file system into command-line errors."""
    try:
        yield
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"{error}; {hint}") from error


def take_options(
    command: Callable[..., None],
    like: Callable[..., object],
    added: Mapping[str, tuple[Any, object]],
    without: Iterable[str] = (),
) -> None:
    """Give `command` the options of `like`, except `without`, plus `added`: kinds and defaults."""
    own = signature(like)
    options = [one for name, one in own.parameters.items() if name not in without]
    options += [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    changed = own.replace(parameters=options, return_annotation=None)
    command.__signature__ = changed  # type: ignore[attr-defined]


def use_threads(wanted: int | None) -> int:
    """Have torch use that many threads, or as many as are fastest here; return how many."""
    if wanted is None:
        return choose_cpu_threads()
    torch.set_num_threads(wanted)
    return wanted


def progress_bar() -> Progress:
    """Return a bar for one task, on stderr if that is a terminal: done, left and time remaining."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)
