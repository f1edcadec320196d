"""`python -m eval speed` has a command for each kind of figure."""

from collections.abc import Callable

import typer

from eval.speed.engine import measure_engine
from eval.speed.figures import Figures, speed_command
from eval.speed.load import measure_load
from eval.speed.pipeline import measure_pipeline
from eval.speed.retrieval import measure_retrieval
from eval.speed.search import measure_search
from eval.speed.shape import measure_shape
from eval.speed.tiers import measure_tiers

speed = typer.Typer(
    no_args_is_help=True,
    help="How fast vstream is here. Device, dtype, threads and the rest are settings: VSTREAM_*.",
)
_MEASURES: dict[str, Callable[..., Figures]] = {
    "engine": measure_engine,
    "tiers": measure_tiers,
    "shape": measure_shape,
    "load": measure_load,
    "pipeline": measure_pipeline,
    "search": measure_search,
    "retrieval": measure_retrieval,
}
for name, measure in _MEASURES.items():
    speed.command(name)(speed_command(measure))
