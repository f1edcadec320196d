"""held_bytes: estimate how much a policy holds of a stream, for the shape of a model's blocks."""

from collections.abc import Callable
from dataclasses import replace

from encoders.block_shape import BlockShape
from memory.ageing import held_blocks
from memory.policies.policy import MemoryPolicy, ModelShape

BlockBytes = Callable[[BlockShape, str | None], int]
"""The size of a block in a codec; None: the codec of the stream's new blocks."""
_FLOAT_BYTES = 4


def model_shape(shape: BlockShape, sample_fps: float = 1.0) -> ModelShape:
    """What a policy may know of the model, as far as config.json says it."""
    told = shape.recommended
    return ModelShape(
        frames_per_block=shape.frames,
        block_tokens=lambda: shape.tokens,
        head_vector_bytes=shape.head_vector_bytes,
        rotary_axes=shape.axes,
        window_frames=told.window_frames,
        window_stride=told.window_stride,
        recent_frames=told.recent_frames,
        retrieve_blocks=told.retrieve_blocks,
        sample_fps=sample_fps,
        sentence_vectors=lambda texts: None,  # type: ignore[arg-type, return-value]
    )


def held_count(policy: MemoryPolicy, shape: BlockShape, frames: int) -> tuple[int, int]:
    """The most blocks held during a stream of `frames` frames: (unchanged, rewritten)."""
    needed = policy.needed_blocks() if policy.has("rewrite") else None
    return held_blocks(frames // shape.frames, policy.keep_blocks(), needed)


def held_bytes(
    policy: MemoryPolicy, shape: BlockShape, frames: int, block_bytes: BlockBytes, number_bytes: int
) -> int:
    """The most bytes held of `frames` distinct frames; `number_bytes` is the size of the dtype."""
    whole, rewritten = held_count(policy, shape, frames)
    old = replace(shape, tokens=policy.num_kept(shape.tokens))
    numbers = shape.tokens * shape.d_model * (1 + shape.deepstack)
    noted = policy.noted_bytes(frames, numbers * number_bytes, numbers * _FLOAT_BYTES)
    return (
        whole * block_bytes(shape, None)
        + rewritten * block_bytes(old, policy.rewritten_codec())
        + noted
    )
