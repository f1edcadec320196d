"""Presets: a name in, the size of the model, of its world and of its training out."""

from dataclasses import dataclass

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from eval.stream_world import SEEN_STYLES
from eval.stream_world.vocabulary import emoji_names

FRAME_TOKENS = 12
"""Three for the time and nine visual ones, whatever the size of the model."""
GRID = 3
"""The visual tokens of a frame stand for `GRID` x `GRID` cells."""


@dataclass(frozen=True)
class ModelShape:
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

    shape: ModelShape
    num_emoji: int
    styles: tuple[str, ...]
    vision_steps: int
    vision_frames: int
    stream_steps: int
    streams: int
    stream_s: int
    questions: int
    text_tokens: int
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    workers: int = 0


EMBEDDED = ModelShape(96, 8, 4, vision_width=192, vision_layers=5, width=256, layers=8)
SMALL = ModelShape(54, 6, 3, vision_width=96, vision_layers=3, width=128, layers=4)
TINY = ModelShape(48, 8, 2, vision_width=64, vision_layers=1, width=64, layers=2)
PRESETS = {
    "gpu": Preset(
        EMBEDDED,
        num_emoji=96,
        styles=SEEN_STYLES,
        vision_steps=16_000,
        vision_frames=256,
        stream_steps=3_800,
        streams=51,
        stream_s=64,
        questions=40,
        text_tokens=495,
        workers=14,
    ),
    "cpu": Preset(
        SMALL,
        num_emoji=16,
        styles=("fluent",),
        vision_steps=600,
        vision_frames=64,
        stream_steps=1_500,
        streams=4,
        stream_s=32,
        questions=16,
        text_tokens=256,
        warmup_steps=50,
    ),
    "tiny": Preset(
        TINY,
        num_emoji=4,
        styles=("fluent",),
        vision_steps=12,
        vision_frames=16,
        stream_steps=12,
        streams=2,
        stream_s=8,
        questions=6,
        text_tokens=128,
        learning_rate=3e-3,
        warmup_steps=2,
    ),
}


def world_of(preset: Preset) -> tuple[str, ...]:
    """The emoji that may appear."""
    return emoji_names()[: preset.num_emoji]


def fresh_model(shape: ModelShape, vocab_size: int) -> SmolVLMForConditionalGeneration:
    """An untrained model of that shape; its random weights come from torch's global generator."""
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
