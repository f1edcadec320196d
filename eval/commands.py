"""The benchmarks of `python -m eval`."""

import typer

from eval.etbench.command import etbench
from eval.find import find
from eval.memory_benchmark.command import memory
from eval.passkey import passkey
from eval.question_sets.command import questions
from eval.real_pictures.strange import strange
from eval.recap import recap
from eval.run.compare import compare_runs
from eval.search import search
from eval.speed.command import speed
from eval.stream_benchmark.command import stream_world
from eval.text_checkpoint import text_checkpoint

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@cli.callback()
def benchmarks() -> None:
    """Benchmarks that run through the same engine as the product."""


cli.command("stream-world")(stream_world)
cli.command("memory")(memory)
cli.command("search")(search)
cli.command("find")(find)
cli.command("recap")(recap)
cli.command("strange")(strange)
cli.add_typer(speed, name="speed")
cli.command("etbench")(etbench)
cli.command("questions")(questions)
cli.command("passkey")(passkey)
cli.command("text-checkpoint")(text_checkpoint)
cli.command("compare")(compare_runs)
