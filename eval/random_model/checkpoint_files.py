"""CheckpointFiles: a made-up checkpoint without its weights and the sizes in config.json.

Each family's files have the layout of its published checkpoints.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

_HALF = [0.5, 0.5, 0.5]
WORDS = ["the", "is", "what", "how", "many", "on", "red", "cup", "table", "dog", "frame", "seconds"]
WORDS += ["user", "assistant", "system", "video", "of", "are", "you", "helpful", "from", "series"]
WORDS += ["yes", "Yes", "no", "No", "not", "now"]
_SPECIAL = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"),
    *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
_NOT_SPECIAL = ["<tool_call>", "</tool_call>"]
_CLIP_MEAN, _CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
_SYSTEM = r'"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"'


@dataclass(frozen=True)
class CheckpointFiles:
    """Laid out file by file like a family's published checkpoints."""

    tokenizer: Tokenizer
    stops: Sequence[str]
    contents: dict[str, Any]
    """The other files, by name."""
    config: dict[str, Any]
    """What config.json says about special tokens and the like."""

    def write(self, directory: Path) -> None:
        self.tokenizer.save(str(directory / "tokenizer.json"))
        stop_ids = [self.tokenizer.token_to_id(token) for token in self.stops]
        generation = {"eos_token_id": stop_ids if len(stop_ids) > 1 else stop_ids[0]}
        for file, content in {**self.contents, "generation_config.json": generation}.items():
            text = content if isinstance(content, str) else json.dumps(content, indent=2)
            (directory / file).write_text(text, "utf-8")


def qwen2_5_vl_files() -> CheckpointFiles:
    """Qwen2.5-VL's: the template is in tokenizer_config.json, sizes are numbers of pixels."""
    template = _template("qwen").replace("DEFAULT_SYSTEM", _SYSTEM)
    limits: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16384}
    preprocessing = preprocessor(3, None, _CLIP_MEAN, _CLIP_STD, **limits, **_patches(14))
    del preprocessing["size"]
    return _files(
        {
            "tokenizer_config.json": tokenizer_config(
                "Qwen2Tokenizer", "<|im_end|>", chat_template=template
            ),
            "preprocessor_config.json": preprocessing,
        }
    )


def qwen3_vl_files() -> CheckpointFiles:
    """Qwen3-VL's: the template is in chat_template.json, and video has its own size."""
    for_video = {"shortest_edge": 4096, "longest_edge": 25165824}
    for_images = {"shortest_edge": 65536, "longest_edge": 16777216}
    return _files(
        {
            "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
            "chat_template.json": {
                "chat_template": _template("qwen").replace("DEFAULT_SYSTEM", "''")
            },
            "preprocessor_config.json": preprocessor(3, for_images, **_patches(16)),
            "video_preprocessor_config.json": preprocessor(3, for_video, **_patches(16)),
        }
    )


def _template(name: str) -> str:
    return files("eval.random_model").joinpath(f"{name}.jinja").read_text(encoding="utf-8")


def _patches(side: int) -> dict[str, Any]:
    return {"patch_size": side, "temporal_patch_size": 2, "merge_size": 2}


def _files(contents: dict[str, Any]) -> CheckpointFiles:
    tokenizer = made_up_tokenizer(_SPECIAL, _NOT_SPECIAL)
    return CheckpointFiles(
        tokenizer,
        stops=["<|im_end|>", "<|endoftext|>"],
        contents=contents,
        config={
            "image_token_id": tokenizer.token_to_id("<|image_pad|>"),
            "video_token_id": tokenizer.token_to_id("<|video_pad|>"),
            "vision_start_token_id": tokenizer.token_to_id("<|vision_start|>"),
            "vision_end_token_id": tokenizer.token_to_id("<|vision_end|>"),
        },
    )


def llava_onevision_files(side: int = 384) -> CheckpointFiles:
    """`side`, in pixels, is that of the tower's pictures."""
    size = {"height": side, "width": side}
    tokenizer = made_up_tokenizer(
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"]
    )
    return CheckpointFiles(
        tokenizer,
        stops=["<|im_end|>"],
        contents={
            "tokenizer_config.json": tokenizer_config("Qwen2Tokenizer", "<|im_end|>"),
            "chat_template.jinja": _template("llava_onevision"),
            "preprocessor_config.json": preprocessor(3, size, do_pad=True),
            "video_preprocessor_config.json": preprocessor(3, size),
        },
        config={
            "image_token_id": tokenizer.token_to_id("<image>"),
            "video_token_id": tokenizer.token_to_id("<video>"),
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full",
            "vision_aspect_ratio": "anyres_max_9",
        },
    )


def preprocessor(
    resample: int,
    size: dict[str, int] | None,
    mean: list[float] = _HALF,
    std: list[float] = _HALF,
    **more: Any,
) -> dict[str, Any]:
    """Return a preprocessor_config.json. `resample` is Pillow's number."""
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
    return {
        "tokenizer_class": tokenizer_class,
        "eos_token": eos_token,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 32768,
        **more,
    }


def made_up_tokenizer(special: Sequence[str], not_special: Sequence[str] = ()) -> Tokenizer:
    """Make a tokenizer with its own ids; `not_special` are added without being marked special."""
    tokenizer = byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in not_special])
    return tokenizer


def byte_level(first: Sequence[str] = ()) -> Tokenizer:
    """Start with all bytes, then build each word letter by letter, with and without a space."""
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
