"""`python -m eval speed`: what to measure in; tables, and a JSON document if wanted, out."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from eval.random_model import SHAPES
from eval.speed.engine import measure_engine
from eval.speed.figures import Figures, show
from eval.speed.load import measure_load
from eval.speed.pipeline import measure_pipeline
from eval.speed.retrieval import measure_retrieval
from eval.speed.search import measure_search
from eval.speed.shape import measure_shape
from eval.speed.subject import ready_model, roomy_config
from eval.speed.tiers import measure_tiers
from memory import KVMemoryError
from vstream import VStreamError

speed = typer.Typer(
    no_args_is_help=True,
    help="How fast vstream is here. Device, dtype, threads and the rest are settings: VSTREAM_*.",
)
_NAMES = ", ".join(SHAPES)
Shape = Annotated[str | None, typer.Option(help=f"Not the configured model, but one of {_NAMES}.")]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="What a shape has: none is downloaded.")
]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON document.")]


@speed.command()
def engine(
    minutes: Annotated[
        list[float] | None, typer.Option(help="Length of history; may be given again, rising.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ingest, answers, bytes and resident memory of the configured model."""
    histories_s = [60 * one for one in sorted(minutes or [1, 60])]
    _show(lambda: measure_engine(histories_s), as_json)


@speed.command()
def tiers(
    minutes: Annotated[float, typer.Option(help="Of history of the configured model.")] = 10,
    mb: Annotated[int, typer.Option(min=1, help="Of LLaVA-OneVision-7B's blocks.")] = 750,
    folder: Annotated[
        Path | None, typer.Option(help="On whose disk files are measured; else TMPDIR's.")
    ] = None,
    redis: Annotated[
        str | None, typer.Option(help="Measure this server as well: redis://HOST or unix://PATH.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """How fast each tier that keeps blocks writes them, reads them and begins answers."""
    _show(lambda: measure_tiers(60 * minutes, mb, folder, redis), as_json)


@speed.command(help=f"A model of a published shape beside the least times: {_NAMES}.")
def shape(
    name: str,
    random_weights: RandomWeights = False,
    frames: Annotated[int, typer.Option(min=2, help="Before it is asked.")] = 256,
    askers: Annotated[
        list[int] | None, typer.Option(min=1, help="At once; may be given again.")
    ] = None,
    hours: Annotated[
        list[float] | None,
        typer.Option(min=0.01, help="Of history at which it is asked, too; several times."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    several = askers or [1, 8, 32]
    _show(lambda: measure_shape(name, random_weights, frames, several, hours or []), as_json)


@speed.command()
def load(
    shape: Shape = None,
    random_weights: RandomWeights = False,
    frames: Annotated[int, typer.Option(min=1, help="Of the stream that is asked, before.")] = 256,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 10,
    askers: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one stream; may be given again.")
    ] = None,
    streams: Annotated[
        list[int] | None, typer.Option(min=0, help="Beside one asker; may be given again.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Frames a second while people ask, and first tokens while streams bring frames."""

    def measured() -> Figures:
        model, config = ready_model(shape, random_weights), roomy_config()
        beside = askers or [0, 8, 32], streams or [0, 1, 16]
        return measure_load(model, config, frames, seconds, *beside, shape is not None)

    _show(measured, as_json)


@speed.command()
def pipeline(
    sources: Annotated[list[str], typer.Argument(help="Files and cameras, all at once.")],
    shape: Shape = None,
    random_weights: RandomWeights = False,
    seconds: Annotated[float, typer.Option(min=1, help="At most, from the first block on.")] = 20,
    as_json: AsJson = False,
) -> None:
    """From an address to blocks in the store: how fast, where the time goes, and what limits."""
    _show(
        lambda: measure_pipeline(
            ready_model(shape, random_weights), roomy_config(), sources, seconds
        ),
        as_json,
    )


@speed.command()
def search(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else a day and a week at 1 a second.")
    ] = None,
    hnsw_up_to: Annotated[int, typer.Option(help="No graph is built over more blocks.")] = 86_400,
    threads: Annotated[int, typer.Option(min=1, help="Threads of FAISS.")] = 1,
    as_json: AsJson = False,
) -> None:
    """What a search of a long past costs by kind of FAISS index."""
    _show(lambda: measure_search(blocks or [86_400, 604_800], hnsw_up_to, threads), as_json)


@speed.command()
def retrieval(
    blocks: Annotated[
        list[int] | None, typer.Option(min=2048, help="Sizes; else an hour and a day, 1 a second.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What it costs a question to find its blocks in a long past, and to open one from files."""
    _show(lambda: measure_retrieval(blocks or [3_600, 86_400]), as_json)


def _show(measure: Callable[[], Figures], as_json: bool) -> None:
    try:
        figures = measure()
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    show(figures, as_json)
