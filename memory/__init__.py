"""Keys and values in, keys and values of chosen blocks out."""

from memory.block_codec import BlockCodec, codec_named
from memory.block_index import BlockIndex, Similarity
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, DurableStore
from memory.config import MemoryConfig
from memory.errors import (
    BlockCorruptError,
    BlockNotFoundError,
    BlockRejectedError,
    FingerprintMismatchError,
    KVMemoryError,
    StoreError,
)
from memory.file_tier import FileTier
from memory.host_tier import HostTier
from memory.kv_block import BlockInfo, KVBlock
from memory.kv_memory import KVMemory, MemoryStats
from memory.open_memory import open_memory
from memory.row_layout import RowLayout
from memory.stream_make import StreamMake

__all__ = [
    "BlockCodec",
    "BlockCorruptError",
    "BlockHead",
    "BlockIndex",
    "BlockInfo",
    "BlockNotFoundError",
    "BlockRecord",
    "BlockRejectedError",
    "BlockStore",
    "DurableStore",
    "FileTier",
    "FingerprintMismatchError",
    "HostTier",
    "KVBlock",
    "KVMemory",
    "KVMemoryError",
    "MemoryConfig",
    "MemoryStats",
    "RowLayout",
    "Similarity",
    "StoreError",
    "StreamMake",
    "codec_named",
    "open_memory",
]
