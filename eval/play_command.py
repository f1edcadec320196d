"""play_command gives a command of `python -m eval` the options with which videos are played."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import typer

from eval.play import command_options
from eval.play.options import PlayOptions, out_of
from memory import KVMemoryError
from vstream import VStreamError

_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (command_options.Model, None),
    "out": (command_options.Out, None),
    "contenders": (command_options.Contenders, command_options.DEFAULT_CONTENDERS),
    "limit": (command_options.Limit, None),
    "seed": (command_options.Seed, None),
    "fps": (command_options.Fps, None),
    "max_tokens": (command_options.MaxTokens, None),
    "temperature": (command_options.Temperature, 0.0),
    "dedup": (command_options.Dedup, 0.0),
    "workers": (command_options.Workers, 1),
    "device": (command_options.Device, "auto"),
}


def play_command(run: Callable[..., None]) -> Callable[..., None]:
    """`run` is called with its own options and with `play`: PlayOptions, or None without a model.

    What it raises becomes an error of the command line.
    """

    @wraps(run)
    def command(**given: Any) -> None:
        play = {name: given.pop(name) for name in _OPTIONS}
        try:
            if play["model"] is not None:
                given["play"] = PlayOptions(**{**play, "out": out_of(play["out"])})
            run(**given)
        except (VStreamError, KVMemoryError) as error:
            raise typer.BadParameter(str(error)) from error
        except OSError as error:
            raise typer.BadParameter(f"{error}; choose another file") from error

    own = signature(run)
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in _OPTIONS.items()
    ]
    kept = [one for name, one in own.parameters.items() if name != "play"]
    command.__signature__ = own.replace(parameters=[*kept, *options])  # type: ignore[attr-defined]
    return command
