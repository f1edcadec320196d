"""Small KV blocks, and the memories that tests put them into."""

import struct
import zlib

import torch

from memory import (
    BlockHead,
    BlockInfo,
    BlockRecord,
    KVBlock,
    KVMemory,
    MemoryConfig,
    MemoryPolicy,
    ModelShape,
    Provenance,
    RowForm,
    RowLayout,
    open_memory,
    policy_named,
)
from memory.block_head import IndexVectors
from memory.block_record import FORMAT_VERSION, HEADER_BYTES

LAYERS, KV_HEADS, HEAD_DIM = 2, 2, 8
CPU = torch.device("cpu")


def keeping_newest(count: int) -> MemoryPolicy:
    """The default policy of a model for which the newest `count` blocks must stay as they are."""
    shape = ModelShape(window_frames=1, window_stride=1, recent_frames=count - 1)
    policy = policy_named("default", shape, {})
    assert policy.needed_blocks() == count
    return policy


def kv_block(
    tokens: int = 3,
    end_s: float = 0.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    layers: int = LAYERS,
    kv_heads: int = KV_HEADS,
    head_dim: int = HEAD_DIM,
) -> KVBlock:
    """Random keys and values; three rotary axes; equal arguments give equal blocks."""
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, layers, kv_heads, tokens, head_dim, generator=generator)
    info = BlockInfo(
        start_s=end_s - 0.5,
        end_s=end_s,
        captured_at=1.7e9 + end_s,
        positions=torch.arange(3 * tokens).view(3, tokens),
        advance=torch.tensor([2, tokens, 1]),
    )
    return KVBlock(info, keys.to(dtype), values.to(dtype), f"picture {seed}".encode())


def kv_stream(num_blocks: int, varying: bool = True) -> list[KVBlock]:
    """Blocks one second apart, of 1 to 4 tokens or all of 3."""
    return [
        kv_block(tokens=1 + i * 7 % 4 if varying else 3, end_s=float(i), seed=i)
        for i in range(num_blocks)
    ]


def memory_of(
    store: str = "memory://",
    codec: str = "int8",
    host_bytes: int = 1 << 20,
    stream_id: str = "camera",
    fingerprint: str = "model-a",
    kv_heads: int = KV_HEADS,
) -> KVMemory:
    config = MemoryConfig(store=store, codec=codec, host_bytes=host_bytes)
    return open_memory(config, stream_id, fingerprint, LAYERS, kv_heads, HEAD_DIM, CPU)


def same_info(one: BlockInfo, other: BlockInfo) -> bool:
    return (
        (one.start_s, one.end_s, one.captured_at) == (other.start_s, other.end_s, other.captured_at)
        and torch.equal(one.positions, other.positions)
        and torch.equal(one.advance, other.advance)
    )


def kv_record(seed: int = 0, tokens: int = 3, layers: int = LAYERS) -> BlockRecord:
    """Block `seed`, with rows of arbitrary bytes; equal arguments give equal records."""
    block = kv_block(tokens, end_s=float(seed), seed=seed, layers=layers)
    head = BlockHead(
        seed,
        Provenance("model-a", layers, KV_HEADS, HEAD_DIM),
        RowForm("int8", RowLayout(KV_HEADS, tokens, HEAD_DIM, "float16")),
        block.info,
        IndexVectors(block.keys.mean(dim=2).flatten(1)[:, None].numpy()),
    )
    rows = torch.arange(layers)[:, None] * 31 + torch.arange(20 * tokens) + seed
    return BlockRecord(head, block.thumbnail, tuple(bytes(row) for row in (rows % 256).tolist()))


def as_of_a_newer_version(record: bytes) -> bytes:
    """The record, or what begins with one, as the next format version would write it."""
    header = bytearray(record[: HEADER_BYTES - 4])
    struct.pack_into("<H", header, 4, FORMAT_VERSION + 1)
    return bytes(header) + struct.pack("<I", zlib.crc32(header)) + record[HEADER_BYTES:]
