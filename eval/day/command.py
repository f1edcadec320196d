"""`python -m eval day`: options in, a directory with a report and a JSON document on stdout out."""

import json
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from eval.day.encoded_day import ENGINE, EncodedDay
from eval.progress import progress_bar
from eval.stream_benchmark.exam import MAX_SEED, day_seed
from eval.stream_benchmark.run_directory import RunDirectory
from eval.stream_world import WORLD_PX, Moment, Renderer, write_script
from eval.stream_world.vocabulary import emoji_names
from memory import KVMemoryError
from vstream import VStreamError, load_config, load_video_llm
from vstream.cpu_threads import choose_cpu_threads
from vstream.engine import decide


def day(
    out: Annotated[Path, typer.Option(help="Where blocks and reports are kept; a run goes on.")],
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Length of the stream.")] = 24,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Which stream.")] = 1,
    names: Annotated[
        Literal["core", "full"], typer.Option(help="The objects that may appear.")
    ] = "core",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; else measured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """A day of stream through the embedded model, kept within a budget and asked about."""
    given = {} if threads is None else {"threads": threads}
    try:
        config = load_config(**given, source={"sample_fps": 1.0})
        if config.threads is None:
            choose_cpu_threads()
        else:
            torch.set_num_threads(config.threads)
        model = load_video_llm(config.model, config.device, config.dtype, sample_fps=1.0)
        script = write_script(
            day_seed(seed), round(hours * 3600), emoji=emoji_names(full=names == "full")
        )
        settings = decide(ENGINE, model.family.recommended, model.family.frames_per_block)
        described = {
            "seed": seed,
            "length_s": round(hours * 3600),
            "names": names,
            "script": _digest(script.moments),
            "model": model.fingerprint,
            "dtype": str(model.decoder.dtype),
            "settings": settings.model_dump(),
        }
        renderer = Renderer(WORLD_PX)
        with RunDirectory(out, described) as directory, progress_bar() as progress:
            encoded = EncodedDay(directory.blocks, script, model, config, renderer)
            task = progress.add_task("encoding", total=encoded.length_s)
            encoded.encode(lambda frames: progress.update(task, advance=frames))
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    if as_json:
        sys.stdout.write(f"{json.dumps({}, allow_nan=False)}\n")


def _digest(moments: Sequence[Moment]) -> str:
    return sha256(repr(moments).encode()).hexdigest()[:16]
