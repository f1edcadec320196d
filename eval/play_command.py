"""play_command gives a command of `python -m eval` the options with which videos are played."""

from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

from eval.command_line import refusals, take_options
from eval.play.options import PlayOptions


def play_command(run: Callable[..., None]) -> Callable[..., None]:
    """`run` is called with its own options and with `play`: PlayOptions, or None without a model.

    For published videos. The stream world has an exam to size and a rate of its own.
    """
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
