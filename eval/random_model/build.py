"""random_video_llm: the name of a shape in, a VideoLLM of that shape with random weights out."""

import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel

from encoders import Family
from eval.random_model.shapes import SHAPES, config_of, files_of
from vstream import VideoLLM
from vstream.models.families import make_family
from vstream.models.video_llm import driven

_SPREAD = 0.02
"""Standard deviation of weights; so neither activations nor logits overflow in half precision."""


def random_model(shape: str, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """As transformers has it, made on `device`: no checkpoint is read, no weight travels."""
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


def random_family(shape: str, model: PreTrainedModel) -> Family:
    """What stands in front of its decoder, with a tokenizer of a few hundred entries.

    Tokens are chosen among as many as the shape has.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        model.config.save_pretrained(directory)
        files_of(shape).write(directory)
        family = make_family(model, directory, None)
    family.vocabulary_size = SHAPES[shape].decoder["vocab_size"]
    return family


def random_video_llm(shape: str, model: PreTrainedModel, family: Family) -> VideoLLM:
    """Made ready to stream. The attention of `model` is changed, see `vstream.engine.Decoder`."""
    decoder, scheduler = driven(model)
    return VideoLLM(
        name=f"{shape}, random weights",
        fingerprint=f"random-{shape}",
        family=family,
        decoder=decoder,
        sample_fps=family.recommended.sample_fps,
        scheduler=scheduler,
    )
