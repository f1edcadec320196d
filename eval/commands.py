"""The benchmarks of `python -m eval`."""

import typer

from eval.day import day
from eval.etbench import etbench
from eval.live_speed import pipeline, under_load
from eval.question_sets import questions
from eval.run.compare_command import compare_runs
from eval.search_command import retrieval_scale, search, search_scale
from eval.speed_command import speed
from eval.stream_benchmark import stream_world

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@cli.callback()
def benchmarks() -> None:
    """Benchmarks that run through the same engine as the product."""


cli.command("stream-world")(stream_world)
cli.command("day")(day)
cli.command("search")(search)
cli.command("search-scale")(search_scale)
cli.command("retrieval-scale")(retrieval_scale)
cli.command("speed")(speed)
cli.command("under-load")(under_load)
cli.command("pipeline")(pipeline)
cli.command("etbench")(etbench)
cli.command("questions")(questions)
cli.command("compare")(compare_runs)
