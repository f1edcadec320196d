"""CheckpointFiles is a made-up checkpoint without its weights and the sizes in config.json."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_HALF = [0.5, 0.5, 0.5]
WORDS = ["the", "is", "what", "how", "many", "on", "red", "cup", "table", "dog", "frame", "seconds"]
WORDS += ["user", "assistant", "system", "video", "of", "are", "you", "helpful", "from", "series"]
WORDS += ["yes", "Yes", "no", "No", "not", "now"]


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


def made_up_tokenizer(special: Sequence[str], not_special: Sequence[str] = ()) -> Tokenizer:
    """The ids are not those of published ones; `not_special` are added without being called so."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in not_special])
    return tokenizer


def byte_level(first: Sequence[str] = ()) -> Tokenizer:
    """All bytes, then each word built up letter by letter, with and without a space before it."""
    entries = [*first, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for spelling in ("\u0120" + word, word):  # how byte-level BPE writes a space
            for end in range(2, len(spelling) + 1):
                merge = (spelling[: end - 1], spelling[end - 1])
                if merge not in merges:
                    merges.append(merge)
                    entries.append("".join(merge))
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
