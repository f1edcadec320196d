"""The benchmarks of `python -m eval` and their options."""

import json
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from eval.speed import document, measure
from eval.stream_benchmark import stream_world
from vstream.config import load_config

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@cli.callback()
def benchmarks() -> None:
    """Benchmarks that run through the same engine as the product."""


cli.command("stream-world")(stream_world)


@cli.command()
def speed(
    minutes: Annotated[
        list[float] | None, typer.Option(help="Length of history; may be given again, rising.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; else measured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """Ingest rate, first token, decode rate and bytes of the embedded model on this machine."""
    config = load_config(**({} if threads is None else {"threads": threads}))
    results = measure(config, [60 * m for m in sorted(minutes or [1, 60])])
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
    console = Console()
    console.print(table)
    if as_json:
        sys.stdout.write(f"{json.dumps(document(results), allow_nan=False)}\n")
