"""Options of the command line that every benchmark with videos takes, for typer."""

from pathlib import Path
from typing import Annotated

import typer

from eval.play.contender import FRAMES, LANGUAGE

Model = Annotated[
    str | None,
    typer.Option(help="Play the videos: a checkpoint's directory, a hub id, or embedded."),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Directory of the run; an interrupted one goes on in its own."),
]
CONTENDER_FORM = "policy=NAME[,codec=NAME][,budget=SHARE][,SETTING=VALUE]"
DEFAULT_CONTENDERS = ["policy=default"]
Contenders = Annotated[
    list[str],
    typer.Option(
        "--contender",
        metavar=CONTENDER_FORM,
        help="Who answers; may be repeated, or a YAML file with a list of them. NAME is a memory "
        f"policy of the product (vstream policies), {FRAMES} or {LANGUAGE}; all: every one.",
    ),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Ask so many questions: the first, or drawn by --seed.")
]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Draws the questions of --limit, and answers if they are.")
]
Fps = Annotated[
    float | None,
    typer.Option(min=0.01, max=60, help="Frames a second; else as published, or the model's own."),
]
MaxTokens = Annotated[
    int | None, typer.Option(min=1, help="Longest answer; else as published, or 128.")
]
Temperature = Annotated[float, typer.Option(min=0, max=2, help="0: the best token each time.")]
Dedup = Annotated[
    float,
    typer.Option(
        min=0, max=255, help="Skip frames like the last, as a service does at 1.5; 0 keeps all."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Processes, each with its own model.")]
Device = Annotated[
    str, typer.Option(help="torch device; several, separated by commas, for workers in turn.")
]
