"""`python -m eval.stream_world camera|video|sample`: the made-up world for people to look at."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from eval.stream_world.camera import play_live
from eval.stream_world.sample import write_sample
from eval.stream_world.script import write_script
from eval.stream_world.video import write_video

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Seed = Annotated[int, typer.Option(help="Which stream: the same seed shows the same.")]
Fps = Annotated[int, typer.Option(min=1, help="Frames a second.")]
Side = Annotated[int, typer.Option(min=16, help="Side of the picture in pixels, even.")]


@cli.callback()
def world() -> None:
    """A made-up stream with exact ground truth."""


@cli.command()
def camera(seed: Seed, port: int = 8554, fps: Fps = 4, side: Side = 384) -> None:
    """Print an rtsp:// address on loopback and play the stream there, until Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the file is removed
    with suppress(KeyboardInterrupt):
        try:
            asyncio.run(play_live(seed, port, fps, side, typer.echo))
        except (ModuleNotFoundError, OSError) as error:
            typer.echo(f"no camera on port {port}: {error}", err=True)
            raise typer.Exit(1) from None


@cli.command()
def video(
    seed: Seed,
    out: Annotated[Path, typer.Option(help="File to write, such as stream.mp4.")],
    seconds: int = 60,
    fps: Fps = 4,
    side: Side = 384,
) -> None:
    """Write the beginning of the stream as a video."""
    write_video(out, write_script(seed, seconds), fps, side)


@cli.command()
def sample(
    seed: Seed,
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    seconds: int = 150,
    fps: Fps = 4,
    side: Side = 384,
) -> None:
    """Write a sample stream and a sheet of questions with their true answers."""
    write_sample(out, seed, seconds, fps, side)


if __name__ == "__main__":
    cli(prog_name="python -m eval.stream_world")
