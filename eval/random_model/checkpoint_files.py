"""CheckpointFiles: all of a made-up checkpoint but the weights and the sizes in config.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

_HALF = [0.5, 0.5, 0.5]


@dataclass(frozen=True)
class CheckpointFiles:
    """Laid out file by file as the published checkpoints of a family."""

    tokenizer: Tokenizer
    stops: Sequence[str]
    """The tokens that end an answer."""
    contents: dict[str, Any]
    """Of the other files, by name."""
    config: dict[str, Any]
    """What config.json says about special tokens and the like."""

    def write(self, directory: Path) -> None:
        """Write all but config.json."""
        self.tokenizer.save(str(directory / "tokenizer.json"))
        stop_ids = [self.tokenizer.token_to_id(token) for token in self.stops]
        generation = {"eos_token_id": stop_ids if len(stop_ids) > 1 else stop_ids[0]}
        for file, content in {**self.contents, "generation_config.json": generation}.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2)
            (directory / file).write_text(text, "utf-8")


def preprocessor(
    resample: int,
    size: dict[str, int] | None,
    mean: list[float] = _HALF,
    std: list[float] = _HALF,
    **more: Any,
) -> dict[str, Any]:
    """A preprocessor_config.json. `resample` is Pillow's number."""
    return {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "resample": resample,
        "rescale_factor": 1 / 255,
        "image_mean": mean,
        "image_std": std,
        "size": size,
        **more,
    }


def tokenizer_config(tokenizer_class: str, eos_token: str, **more: Any) -> dict[str, Any]:
    """A tokenizer_config.json."""
    return {
        "tokenizer_class": tokenizer_class,
        "eos_token": eos_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        **more,
    }
