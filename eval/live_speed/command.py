"""`python -m eval under-load` and `pipeline`: options in, a table and a JSON document out."""

import json
import sys
from dataclasses import asdict, replace
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from eval import speed_options
from eval.live_speed.pipeline import PipelineSpeed, measure_pipeline
from eval.live_speed.under_load import LoadOptions, UnderLoad, measure_under_load
from eval.random_model import random_family, random_model, random_video_llm, require_shape
from eval.speed import ready_model, with_room
from memory import KVMemoryError
from vstream import VideoLLM, VStreamConfig, VStreamError, load_config
from vstream.models.video_llm import device_and_dtype

_PLAIN_WIDTH = 160
_DEFAULT = LoadOptions()


def under_load(
    shape: speed_options.Shape = None,
    random_weights: speed_options.RandomWeights = False,
    frames: Annotated[
        int, typer.Option(min=1, help="Of the stream that is asked, before anything is measured.")
    ] = _DEFAULT.frames,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = _DEFAULT.seconds,
    askers: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one stream; may be given again.")
    ] = None,
    streams: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one asker; may be given again.")
    ] = None,
    device: speed_options.Device = "auto",
    dtype: speed_options.Dtype = "auto",
    threads: speed_options.Threads = None,
    as_json: speed_options.AsJson = False,
) -> None:
    """Frames a second while people ask, and first tokens while streams bring frames."""
    options = LoadOptions(
        frames,
        seconds,
        has_camera_frames=shape is not None,
        askers=_DEFAULT.askers if askers is None else tuple(askers),
        streams=_DEFAULT.streams if streams is None else tuple(streams),
    )
    try:
        model, config = _model(shape, random_weights, (device, dtype), threads, None)
        found = measure_under_load(model, config, options)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    for table in _load_tables(model.name, found):
        _console().print(table)
    if as_json:
        _write({"model": model.name, **asdict(found)})


def pipeline(
    sources: Annotated[list[str], typer.Argument(help="Files and cameras, all at once.")],
    shape: speed_options.Shape = None,
    random_weights: speed_options.RandomWeights = False,
    sample_fps: Annotated[
        float | None, typer.Option(min=0.01, max=60, help="Else what the model recommends.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=1, help="At most, from the first block on.")] = 20.0,
    device: speed_options.Device = "auto",
    dtype: speed_options.Dtype = "auto",
    threads: speed_options.Threads = None,
    as_json: speed_options.AsJson = False,
) -> None:
    """From an address to blocks in the store: how fast, where the time goes, and what limits."""
    try:
        model, config = _model(shape, random_weights, (device, dtype), threads, sample_fps)
        found = measure_pipeline(model, config, sources, seconds)
    except (VStreamError, KVMemoryError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error
    _console().print(_pipeline_table(model.name, found))
    if as_json:
        _write({"model": model.name, **asdict(found)})


def _model(
    shape: str | None,
    has_random_weights: bool,
    where: tuple[str, str],
    threads: int | None,
    sample_fps: float | None,
) -> tuple[VideoLLM, VStreamConfig]:
    config = load_config(**({} if threads is None else {"threads": threads}))
    if shape is None:
        model = ready_model(config)
        return (model if sample_fps is None else model.at_rate(sample_fps)), config
    require_shape(shape, has_random_weights)
    config = with_room(config)
    device, dtype = device_and_dtype(*where)
    if threads is not None:
        torch.set_num_threads(threads)
    weights = random_model(shape, device, dtype)
    model = random_video_llm(shape, weights, random_family(shape, weights))
    return (model if sample_fps is None else replace(model, sample_fps=sample_fps)), config


def _load_tables(name: str, found: UnderLoad) -> tuple[Table, Table]:
    ingest = Table("askers", "frames/s", "answers' tokens/s", title=f"{name}: one stream, as fast")
    for beside in found.ingest:
        ingest.add_row(
            f"{beside.askers}", f"{beside.frames_per_s:.1f}", f"{beside.answer_tokens_per_s:.1f}"
        )
    columns = ("streams", "questions", "first token p50", "p95", "frames encoded", "device busy")
    first = Table(*columns, title="one asker, streams at their own pace")
    for told in found.first_tokens:
        first.add_row(
            f"{told.streams}",
            f"{told.questions}",
            f"{1000 * told.first_token_p50_s:.1f} ms",
            f"{1000 * told.first_token_p95_s:.1f} ms",
            f"{told.frames_share:.0%}",
            f"{told.device_share:.0%}",
        )
    return ingest, first


def _pipeline_table(name: str, found: PipelineSpeed) -> Table:
    table = Table("what", "measured", title=f"{name}: {', '.join(found.sources)}")
    table.add_row("frames encoded a second", f"{found.frames_per_s:.1f}")
    table.add_row("frames decoded a second", f"{found.seen_per_s:.1f}")
    table.add_row("lost, and alike", f"{found.frames_lost}, {found.frames_alike}")
    for stage, ms in found.stages_ms.items():
        table.add_row(f"{stage}, ms a frame", f"{ms:.2f}")
    table.add_row("device busy", f"{found.device_share:.0%}")
    table.add_row("CPU cores busy", f"{found.cpu_cores:.1f}")
    table.add_row("what limits", found.limit)
    return table


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)


def _write(document: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(document, allow_nan=False)}\n")
