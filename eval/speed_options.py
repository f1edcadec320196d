"""Options that the commands which measure speed have in common."""

from typing import Annotated

import typer

from eval.random_model import SHAPES

Shape = Annotated[
    str | None,
    typer.Option(help=f"A published shape, not the configured model: {', '.join(SHAPES)}."),
]
RandomWeights = Annotated[
    bool, typer.Option("--random-weights", help="What a shape has: none is downloaded.")
]
Device = Annotated[str, typer.Option(help="Of a shape: a torch device.")]
Dtype = Annotated[str, typer.Option(help="Of a shape: float32, bfloat16 or float16.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; else measured.")]
AsJson = Annotated[bool, typer.Option("--json", help="End with one JSON document.")]
