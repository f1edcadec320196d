"""Presets: a name in, the size of the model, of its world and of its training out."""

from dataclasses import dataclass

from transformers import SmolVLMConfig, SmolVLMForConditionalGeneration

from eval.stream_world import SEEN_STYLES
from eval.stream_world.vocabulary import emoji_names

TIME_TOKENS = 3
FRAME_TOKENS = TIME_TOKENS + 9
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
    stream_steps: int
    vision_frames: int = 64
    streams: int = 1
    stream_s: int = 192
    questions: int = 96
    """About each stream, asked in one step."""
    turns: int = 1
    """So many steps ask about the same streams, always something else ..."""
    apart: int = 1
    """... and lie so many steps apart, which ask about other streams."""
    wordings: int = 0
    """Questions without a stream in each step, to learn from what is asked."""
    text_tokens: int = 64
    """Question and answer together; longer ones are left out."""
    learning_rate: float = 1e-3
    vision_rate: float = 0.3
    """The vision tower's share of the learning rate in the second phase; 0 leaves it as it is."""
    heads_steps: int = 0
    """Steps in which only the heads learn, so that fresh ones do not spoil a trained tower."""
    warmup_steps: int = 200
    window_stride: int = 8
    window_strides: int = 2
    recent_frames: tuple[int, ...] = (16, 32, 48)
    retrieve_frames: tuple[int, ...] = (16, 32, 48)
    half_precision: bool = True
    """Where that is faster."""
    save_every: int = 100
    workers: int = 0


EMBEDDED = ModelShape(96, 8, 4, vision_width=192, vision_layers=5, width=256, layers=8)
SMALL = ModelShape(54, 6, 3, vision_width=96, vision_layers=3, width=128, layers=4)
TINY = ModelShape(48, 8, 2, vision_width=64, vision_layers=1, width=64, layers=2)
PRESETS = {
    "gpu": Preset(
        EMBEDDED,
        num_emoji=96,
        styles=SEEN_STYLES,
        vision_steps=9_000,
        vision_frames=256,
        stream_steps=2_600,
        streams=8,
        wordings=512,
        workers=14,
    ),
    "tune-vision": Preset(
        EMBEDDED,
        num_emoji=96,
        styles=SEEN_STYLES,
        vision_steps=1_800,
        vision_frames=64,
        heads_steps=40,
        stream_steps=0,
        learning_rate=5e-4,
        warmup_steps=40,
    ),
    "tune": Preset(
        EMBEDDED,
        num_emoji=96,
        styles=SEEN_STYLES,
        vision_steps=0,
        stream_steps=270,
        streams=1,
        questions=128,
        turns=4,
        apart=16,
        wordings=128,
        learning_rate=3e-4,
        vision_rate=0.0,
        warmup_steps=15,
        recent_frames=(8, 16, 32),
        retrieve_frames=(8, 16, 32),
        save_every=50,
    ),
    "cpu": Preset(
        SMALL,
        num_emoji=16,
        styles=("fluent",),
        vision_steps=600,
        vision_frames=64,
        stream_steps=1_500,
        streams=1,
        stream_s=96,
        questions=48,
        wordings=64,
        warmup_steps=50,
        recent_frames=(16, 32),
        retrieve_frames=(16, 32),
    ),
    "tiny": Preset(
        TINY,
        num_emoji=4,
        styles=("fluent",),
        vision_steps=24,
        vision_frames=16,
        stream_steps=12,
        streams=2,
        stream_s=16,
        questions=6,
        wordings=4,
        learning_rate=3e-3,
        warmup_steps=2,
        window_stride=4,
        recent_frames=(4,),
        retrieve_frames=(4,),
        half_precision=False,
        save_every=4,
    ),
}


def streams_number(preset: Preset, step: int) -> int:
    """Which streams that step asks about."""
    group, place = divmod(step, preset.apart * preset.turns)
    return group * preset.apart + place % preset.apart


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
