"""`python -m eval speed`: one command for each kind of figure."""

from collections.abc import Callable

import typer

from eval.speed.engine import measure_engine
from eval.speed.figures import Figures, speed_command
from eval.speed.load import measure_load
from eval.speed.pipeline import measure_pipeline
from eval.speed.retrieval import measure_retrieval
from eval.speed.shape import measure_shape
from eval.speed.tiers import measure_tiers

speed = typer.Typer(
    no_args_is_help=True,
    help="How fast vstream is here. Device, dtype, threads and the rest are settings: VSTREAM_*.",
)
_MEASURES: tuple[Callable[..., Figures], ...] = (
    *(measure_engine, measure_tiers, measure_shape, measure_load),
    *(measure_pipeline, measure_retrieval),
)
for measure in _MEASURES:
    speed.command(measure.__name__.removeprefix("measure_"))(speed_command(measure))
