"""random_video_llm: makes a VideoLLM of a published shape, with random weights.

`vstream.models.known_models` has the sizes of published models by name.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from encoders import Family
from eval.random_model.checkpoint_files import (
    CheckpointFiles,
    llava_onevision_files,
    qwen2_5_vl_files,
    qwen3_vl_files,
)
from vstream import SettingsError, VideoLLM
from vstream.models.families import make_family
from vstream.models.known_models import KNOWN
from vstream.models.video_llm import driven

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

SHAPES: dict[str, dict[str, Any]] = {one.name: dict(one.shape) for one in KNOWN}
_FILES: dict[str, Callable[[], CheckpointFiles]] = {
    "llava_onevision": llava_onevision_files,
    "qwen2_5_vl": qwen2_5_vl_files,
    "qwen3_vl": qwen3_vl_files,
}
_SPREAD = 0.02
"""Standard deviation of weights; neither activations nor logits overflow in half precision."""


def require_shape(name: str, has_random_weights: bool) -> None:
    """Raise SettingsError for an unknown name, or unless weights were declared to be random."""
    if name not in SHAPES:
        raise SettingsError(f"unknown shape {name!r}: one of {', '.join(SHAPES)}")
    if not has_random_weights:
        raise SettingsError("a shape has --random-weights; to say so keeps figures honest")


def config_of(name: str) -> "PretrainedConfig":
    """Return the whole config of a shape, with the special tokens of its files."""
    from transformers import AutoConfig  # seconds, as below

    shape = dict(SHAPES[name])
    family = shape.pop("family")
    files = _FILES[family]()
    stop = files.tokenizer.token_to_id("<|im_end|>")
    text = {**shape.pop("text_config"), "eos_token_id": stop}
    return AutoConfig.for_model(
        family,
        text_config={"bos_token_id": None, "pad_token_id": None, **text},
        **shape,
        **files.config,
    )


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> "PreTrainedModel":
    """Make the transformers model on `device`: no checkpoint is read, no weight is moved."""
    from transformers import AutoModelForImageTextToText

    with device:
        model: PreTrainedModel = AutoModelForImageTextToText.from_config(  # type: ignore[no-untyped-call]
            config_of(shape), dtype=dtype
        )
    generator = torch.Generator(device).manual_seed(0)
    for name, weights in model.named_parameters():
        if weights.ndim == 1:
            weights.data.fill_(0.0 if name.endswith("bias") else 1.0)
        else:
            weights.data.normal_(0, _SPREAD, generator=generator)
    model.requires_grad_(False).train(mode=False)
    return model


def random_family(shape: str, model: "PreTrainedModel") -> Family:
    """Make its family: a small tokenizer, but as many token ids as the shape has."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model.config.save_pretrained(directory)
        _FILES[SHAPES[shape]["family"]]().write(directory)
        family = make_family(model, directory, None)
    family.vocabulary_size = SHAPES[shape]["text_config"]["vocab_size"]
    return family


def random_video_llm(shape: str, model: "PreTrainedModel", family: Family) -> VideoLLM:
    """Make it ready to stream. Changes the attention of `model`, see `vstream.engine.Decoder`."""
    decoder, scheduler = driven(model)
    return VideoLLM(
        name=f"{shape}, random weights",
        fingerprint=f"random-{shape}",
        family=family,
        decoder=decoder,
        sample_fps=family.recommended.sample_fps,
        scheduler=scheduler,
    )
