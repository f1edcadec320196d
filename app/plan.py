"""make_plan: estimate the bytes that cameras need on disk, in RAM and on the GPU."""

import shutil
from dataclasses import dataclass
from math import inf
from pathlib import Path

import psutil

from app.held_bytes import held_bytes, held_count, model_shape
from app.model_config import model_config
from encoders.block_shape import BlockShape, block_shape
from memory.block_info import RowLayout
from memory.codecs.codec import codec_named
from memory.policies import DEFAULT, policy_named
from memory.policies.policy import MemoryPolicy
from vstream.config import VStreamConfig
from vstream.errors import ModelError
from vstream.models.known_models import known_model
from vstream.models.weight_files import weight_bytes
from vstream.models.weights import embedded_weights

_HOUR_S, _DAY_S = 3600, 86_400
_PICTURE_BYTES = 9_000
"""A block's picture: 8 kB in the sample, 3 to 16 kB in real clips."""
_HEAD_BYTES = 200
"""A record's metadata."""
_NUMBER_BYTES = {"float32": 4, "bfloat16": 2}
_FLOAT_BYTES = 4


@dataclass(frozen=True)
class Cameras:
    """What to plan for: how many cameras, remembered for how many days."""

    number: int
    days: float
    fps: float | None
    """Frames per second of each; None: what the model's family recommends."""


@dataclass(frozen=True)
class Room:
    """What this machine has, in bytes; `card` is None without a GPU."""

    card: int | None
    ram: int
    disk: int


@dataclass(frozen=True)
class Plan:
    """What the cameras need, in bytes for all of them together unless noted."""

    frames_per_s: float
    hour_bytes: int
    """What one camera adds to the store per hour; 0 if its memory is bounded."""
    stream_bytes: int
    """What one camera takes in the store after all days."""
    store_bytes: int
    least_bytes: int
    """The smallest budget of one camera's store that holds the blocks that must stay unchanged."""
    index_bytes: int
    """In RAM: representative keys, and the codes that do not fit on the device."""
    cache_bytes: int
    """In RAM: copies of blocks in the store."""
    weight_bytes: int | None
    """On the device; None: unknown."""
    window_bytes: int
    """On the device: the windows that new frames attend to."""
    codes_bytes: int
    """On the device: codes that approximate the representative keys."""
    question_bytes: int
    """On the device: what one question reads."""

    @property
    def device_bytes(self) -> int:
        """The device memory needed, as far as it is known."""
        return (self.weight_bytes or 0) + self.window_bytes + self.codes_bytes + self.question_bytes

    @property
    def ram_bytes(self) -> int:
        return self.index_bytes + self.cache_bytes


def record_bytes(shape: BlockShape, codec: str, dtype: str) -> int:
    """The size of a stored block without its picture, as its codec writes rows of that shape."""
    kind = codec_named(codec)
    layout = RowLayout(shape.kv_heads, shape.tokens, shape.head_dim, dtype)
    width = shape.kv_heads * shape.head_dim
    vector_bytes = width + 2 if kind.is_small else width * _FLOAT_BYTES
    row_bytes = kind.row_bytes(layout)
    return shape.layers * (row_bytes + vector_bytes) + _HEAD_BYTES


def stored_bytes(
    policy: MemoryPolicy,
    shape: BlockShape,
    frames: int,
    codec: str,
    dtype: str,
    picture_bytes: float = inf,
) -> int:
    """The most that a stream of `frames` frames ever takes in its store; `picture_bytes` is the
    budget for its pictures.
    """
    pictures = sum(held_count(policy, shape, frames)) * _PICTURE_BYTES

    def block_bytes(one: BlockShape, other: str | None) -> int:
        return record_bytes(one, other or codec, dtype)

    held = held_bytes(policy, shape, frames, block_bytes, _NUMBER_BYTES[dtype])
    return held + int(min(pictures, picture_bytes))


def make_plan(config: VStreamConfig, cameras: Cameras, *, is_card: bool) -> Plan:
    """Plan with the model, policy, codec and budgets of `config`, on a GPU or the CPU. Raises
    ModelError for a model whose block sizes are unknown, PolicyError, StoreError.
    """
    shape = shape_of(config.model)
    fps = cameras.fps or shape.recommended.sample_fps
    dtype = "bfloat16" if is_card else "float32"
    policy = planned_policy(config, shape, fps)
    memory, frames = config.memory, round(cameras.days * _DAY_S * fps)

    def so_far(count: int) -> int:
        budget = memory.picture_bytes or inf
        return stored_bytes(policy, shape, count, memory.codec, dtype, budget)

    in_an_hour = round(_HOUR_S * fps)
    stream_bytes = so_far(frames)
    blocks = sum(held_count(policy, shape, frames))
    width = shape.kv_heads * shape.head_dim
    block_kv = 2 * shape.layers * shape.tokens * width * _NUMBER_BYTES[dtype]
    window = policy.encoding().window_blocks or blocks
    recent = blocks if (told := policy.recent_blocks()) is None else told
    block_bytes = record_bytes(shape, memory.codec, dtype) + _PICTURE_BYTES
    codes = blocks * shape.layers * width
    codes_there = min(codes, memory.index_bytes or codes)
    exact = codes * _FLOAT_BYTES
    return Plan(
        frames_per_s=cameras.number * fps,
        hour_bytes=so_far(2 * in_an_hour) - so_far(in_an_hour),
        stream_bytes=stream_bytes,
        store_bytes=cameras.number * stream_bytes,
        least_bytes=2 * (policy.needed_blocks() + 1) * block_bytes,
        index_bytes=cameras.number * (exact + codes - codes_there),
        cache_bytes=int(memory.host_bytes),
        weight_bytes=bytes_of_weights(config.model, _NUMBER_BYTES[dtype]),
        window_bytes=cameras.number * window * block_kv,
        codes_bytes=cameras.number * codes_there,
        question_bytes=min(blocks, recent + policy.retrieve_blocks()) * block_kv,
    )


def room_here(store: str) -> Room:
    """Free GPU memory, total RAM, and free disk space where the store would be."""
    import torch

    from memory import tier_of
    from memory.tiers.file.in_files import InFiles

    tier = tier_of(store)
    folder = tier.folder if isinstance(tier, InFiles) else Path.home()
    there = next(one for one in (folder, *folder.parents) if one.exists())
    card = torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else None
    return Room(card, psutil.virtual_memory().total, shutil.disk_usage(there).free)


def shape_of(model: str | None) -> BlockShape:
    """Raises ModelError for a family whose config.json does not determine the size of blocks."""
    shape = block_shape(model_config(model))
    if shape is None:
        raise ModelError(f"model {model}: the block size of its family is unknown")
    return shape


def planned_policy(config: VStreamConfig, shape: BlockShape, fps: float) -> MemoryPolicy:
    """Raises PolicyError for a policy that does not fit this model."""
    return policy_named(config.named_policy or DEFAULT, model_shape(shape, fps), config.policy_set)


def bytes_of_weights(model: str | None, number_bytes: int) -> int | None:
    """None for a model that is neither known nor in a local directory."""
    if (known := known_model(model)) is not None:
        return known.parameters * number_bytes
    folder = embedded_weights() if model is None else Path(model).expanduser()
    return weight_bytes(folder, number_bytes) if folder.is_dir() else None
