"""`python -m eval speed`: options in, tables and a JSON document on stdout out."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from eval import speed_options
from eval.random_model import require_shape
from eval.shape_speed import ASKERS, ShapeOptions, measure_shape, shape_table
from eval.speed import SpeedResult, document, made_up_frames, measure, ready_model, with_room
from eval.tier_speed import TierResult, measure_tiers
from memory import KVMemoryError
from vstream import VStreamError
from vstream.config import load_config
from vstream.models.video_llm import device_and_dtype

TIER_HISTORY_S = 600
"""The embedded model's blocks in each tier are of so much stream, or of the longest history."""
_PLAIN_WIDTH = 160


def speed(
    minutes: Annotated[
        list[float] | None, typer.Option(help="Length of history; may be given again, rising.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Measure this server as well: redis://HOST or unix://PATH.")
    ] = None,
    tier_mb: Annotated[
        int, typer.Option(min=1, help="MB of LLaVA-OneVision-7B's blocks to put into each tier.")
    ] = 750,
    tier_folder: Annotated[
        Path | None, typer.Option(help="On whose disk the file tier is measured; else TMPDIR's.")
    ] = None,
    threads: speed_options.Threads = None,
    shape: speed_options.Shape = None,
    random_weights: speed_options.RandomWeights = False,
    num_frames: Annotated[
        int, typer.Option("--frames", min=2, help="Of a shape's stream, before it is asked about.")
    ] = 256,
    askers: Annotated[
        list[int] | None, typer.Option(min=1, help="Of a shape, at once; may be given again.")
    ] = None,
    hours: Annotated[
        list[float] | None,
        typer.Option(min=0.01, help="Of history at which a shape is asked, too; several times."),
    ] = None,
    device: speed_options.Device = "auto",
    dtype: speed_options.Dtype = "auto",
    as_json: speed_options.AsJson = False,
) -> None:
    """Ingest, answers and bytes of the embedded model here; and each tier that keeps blocks.

    With --shape: a model of that shape with random weights, beside the least possible times and
    beside plain transformers.
    """
    if shape is not None:
        options = ShapeOptions(num_frames, askers=tuple(askers or ASKERS), hours=tuple(hours or ()))
        _speed_of_shape(shape, random_weights, (device, dtype, threads), options, as_json)
        return
    histories_s = [60 * m for m in sorted(minutes or [1, 60])]
    try:
        config = load_config(**({} if threads is None else {"threads": threads}))
        model = ready_model(config)
        results = measure(config, model, histories_s)
        frames = made_up_frames(model.sample_fps)
        past = round(min(histories_s[-1], TIER_HISTORY_S) * model.sample_fps)
        tiers = measure_tiers(config, model, frames, past, tier_mb, tier_folder, redis)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(_history_table(results))
    console.print(_tier_table(tiers))
    if as_json:
        found = {**document(results), "tiers": [asdict(tier) for tier in tiers]}
        sys.stdout.write(f"{json.dumps(found, allow_nan=False)}\n")


def _speed_of_shape(
    shape: str,
    has_random_weights: bool,
    where: tuple[str, str, int | None],
    options: ShapeOptions,
    as_json: bool,
) -> None:
    device_name, dtype_name, threads = where
    try:
        require_shape(shape, has_random_weights)
        device, dtype = device_and_dtype(device_name, dtype_name)
        if threads is not None:
            torch.set_num_threads(threads)
        found = measure_shape(shape, device, dtype, with_room(load_config()), options)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH).print(shape_table(found))
    if as_json:
        sys.stdout.write(f"{json.dumps(asdict(found), allow_nan=False)}\n")


def _history_table(results: Sequence[SpeedResult]) -> Table:
    table = Table("history", "ingest", "first token", "decode", "an hour", "resident", "stages")
    for result in results:
        table.add_row(
            f"{result.history_s / 60:g} min",
            f"{result.ingest_fps:.0f} frames/s",
            f"{result.ttft_ms:.1f} ms",
            f"{result.tokens_per_s:.0f} tokens/s",
            f"{result.bytes_per_hour / 1e6:.0f} MB",
            f"{result.rss_bytes / 1e6:.0f} MB",
            ", ".join(f"{name} {ms:.2f}" for name, ms in result.stages.items()) + " ms a frame",
        )
    return table


def _tier_table(tiers: Sequence[TierResult]) -> Table:
    """Without copies in host RAM above the tiers."""
    table = Table("tier", "blocks of", "a row", "write", "read", "64 blocks", "first token")
    for tier in tiers:
        name = tier.tier
        if tier.tier == "file":
            share = "" if tier.disk_share is None else f", {tier.disk_share:.0%} from disk"
            name = f"file, {'cold' if tier.is_cold else 'in page cache'}{share}"
        table.add_row(
            name,
            tier.shape,
            f"{tier.row_bytes / 1e3:.1f} kB",
            f"{tier.write_gb_s:.2f} GB/s",
            f"{tier.read_gb_s:.2f} GB/s",
            f"{tier.retrieve_ms:.1f} ms",
            "-" if tier.first_token_ms is None else f"{tier.first_token_ms:.1f} ms",
        )
    return table
