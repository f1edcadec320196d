"""PRESETS: the named ways to train: sizes of the model, of its world and of its training."""

from importlib.resources import files

import yaml
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass
from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from eval.stream_world.vocabulary import emoji_names

TIME_TOKENS = 3
FRAME_TOKENS = TIME_TOKENS + 9
"""Three for the time and nine visual ones, whatever the size of the model."""
GRID = 3
"""The visual tokens of a frame represent `GRID` x `GRID` cells."""


@dataclass(frozen=True)
class TrainedShape:
    """Sizes of the vision tower and the decoder; `scale` patches a side make one visual token."""

    image_px: int
    patch_px: int
    scale: int
    vision_width: int
    vision_layers: int
    width: int
    layers: int
    head_dim: int = 32


@dataclass(frozen=True)
class Preset:
    """One way to train: first the vision tower alone, then the whole model on streams."""

    shape: TrainedShape
    num_emoji: int
    styles: tuple[str, ...]
    vision_steps: int
    stream_steps: int
    vision_frames: int = 64
    streams: int = 1
    stream_s: int = 192
    questions: int = 96
    """Per stream and step."""
    turns: int = 1
    """This many steps ask about the same streams, each with other questions ..."""
    apart: int = 1
    """... and are this many steps apart; the steps in between ask about other streams."""
    wordings: int = 0
    """Questions without a stream in each step, to learn what is asked."""
    text_tokens: int = 64
    """Question and answer together; longer ones are left out."""
    learning_rate: float = 1e-3
    vision_rate: float = 0.3
    """The vision tower's share of the learning rate in the second phase; 0 freezes it."""
    heads_steps: int = 0
    """Steps in which only the heads learn, so that fresh ones do not spoil a trained tower."""
    warmup_steps: int = 200
    window_stride: int = 8
    window_strides: int = 2
    recent_frames: tuple[int, ...] = (16, 32, 48)
    retrieve_frames: tuple[int, ...] = (16, 32, 48)
    half_precision: bool = True
    """If that is faster."""
    save_every: int = 100
    workers: int = 0


def _read() -> tuple[dict[str, TrainedShape], dict[str, Preset]]:
    text = files("eval.training").joinpath("presets.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    shapes = TypeAdapter(dict[str, TrainedShape]).validate_python(document["shapes"])
    named = {
        name: {**values, "shape": shapes[values["shape"]]}
        for name, values in document["presets"].items()
    }
    return shapes, TypeAdapter(dict[str, Preset]).validate_python(named)


SHAPES, PRESETS = _read()


def streams_number(preset: Preset, step: int) -> int:
    """Return which streams that step asks about."""
    group, place = divmod(step, preset.apart * preset.turns)
    return group * preset.apart + place % preset.apart


def world_of(preset: Preset) -> tuple[str, ...]:
    return emoji_names()[: preset.num_emoji]


def fresh_model(shape: TrainedShape, vocab_size: int) -> SmolVLMForConditionalGeneration:
    """Return an untrained model of that shape; its weights come from torch's global generator."""
    num_heads = shape.width // shape.head_dim
    config = SmolVLMConfig(
        vision_config={
            "hidden_size": shape.vision_width,
            "intermediate_size": 4 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": max(1, shape.vision_width // 64),
            "image_size": shape.image_px,
            "patch_size": shape.patch_px,
        },
        text_config={
            "model_type": "llama",
            "vocab_size": vocab_size,
            "hidden_size": shape.width,
            "intermediate_size": 3 * shape.width,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": num_heads,
            "num_key_value_heads": num_heads // 2,
            "head_dim": shape.head_dim,
            "max_position_embeddings": 65536,
            "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "bos_token_id": 1,
            "eos_token_id": 4,
            "pad_token_id": 0,
        },
        scale_factor=shape.scale,
        image_token_id=5,
        tie_word_embeddings=True,
    )
    config.vstream_family = "embedded"
    model = SmolVLMForConditionalGeneration(config)
    model.model.connector.modality_projection.proj.weight.data.normal_(0, 0.005)
    return model
