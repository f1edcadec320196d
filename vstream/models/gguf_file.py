"""load_gguf: loads a GGUF file of a text decoder, dequantised by transformers."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def load_gguf(path: Path, dtype: torch.dtype) -> tuple["PreTrainedModel", Path]:
    """Return the model, on the CPU, and a directory with its tokenizer and chat template, which is
    there as long as the model is. Raises ImportError without the extra `text`, and what
    transformers raises for architectures that it cannot read from such a file.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # seconds

    said = {"gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(path.parent, **said)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path.parent, dtype=dtype, **said)
    del model.config.quantization_config, model.hf_quantizer  # they are plain numbers now
    model.config.vstream_family = "text"
    directory = Path(tempfile.mkdtemp(prefix="vstream-gguf-"))
    weakref.finalize(model, shutil.rmtree, directory, ignore_errors=True)
    tokenizer.save_pretrained(directory)
    return model, directory
