"""Blocks of a model's shape from random tensors, put into a store as a session does it."""

from dataclasses import replace

import torch

from encoders.block_shape import block_shape
from encoders.temporal_grid import grid_positions
from encoders.tokens import VisualTokens
from memory.block_info import BlockInfo
from memory.kv_block import KVBlock
from memory.open_memory import open_memory
from memory.policy_hooks import NewBlock
from vstream.models.known_models import KNOWN

SHAPES = {one.name: block_shape(one.config) for one in KNOWN}
CPU = torch.device("cpu")


def random_memory(shape, config, policy=None):
    sizes = shape.layers, shape.kv_heads, shape.head_dim
    return open_memory(config, "random", "random", *sizes, CPU, policy)


def random_block(shape, dtype):
    """Keys and values of a normal distribution, and the tokens that they would be made of."""
    generator = torch.Generator().manual_seed(0)
    size = (2, shape.layers, shape.kv_heads, shape.tokens, shape.head_dim)
    keys, values = torch.randn(size, generator=generator).to(dtype)
    side = round(shape.tokens**0.5)
    positions = torch.arange(shape.tokens)[None]
    advance = torch.tensor([shape.tokens])
    if shape.axes == 3:
        positions, advance = grid_positions(side, side), torch.tensor([1, 0, 0])
    info = BlockInfo(0.0, 0.0, 0.0, positions, advance)
    return KVBlock(info, keys, values)


def peak_bytes(memory, shape, policy, dtype, count):
    """The most that the store holds while so many blocks come and the policy notes each."""
    block = random_block(shape, dtype)
    first, peak = memory.encoded(block), 0
    generator = torch.Generator().manual_seed(1)
    for number in range(count):
        at_s = float(number * shape.frames)
        tokens = _tokens(shape, block.info, dtype, at_s, generator)
        noted = policy.note(NewBlock(number, tokens, {}, None, memory.first_block), memory.state)
        info = replace(first.head.info, start_s=at_s, end_s=at_s)
        head = replace(first.head, block_id=number, info=info)
        memory.take(replace(first, head=head, noted=noted))
        peak = max(peak, sum(memory.bytes_by_tier().values()))
    return peak


def _tokens(shape, info, dtype, at_s, generator):
    vectors = torch.randn(1 + shape.deepstack, shape.tokens, shape.d_model, generator=generator).to(
        dtype
    )
    return VisualTokens(
        embeddings=vectors[0],
        positions=info.positions,
        advance=info.advance,
        is_visual=torch.ones(shape.tokens, dtype=torch.bool),
        start_s=at_s,
        end_s=at_s,
        deepstack=vectors[1:] if shape.deepstack else None,
    )
