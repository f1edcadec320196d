"""Keys and values in, keys and values of chosen blocks out."""

from memory.block_index import BlockIndex, Similarity
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, Span
from memory.codec.block_codec import BlockCodec, codec_named
from memory.codec.row_form import RowForm
from memory.codec.row_layout import RowLayout
from memory.config import MemoryConfig
from memory.errors import (
    BlockCorruptError,
    BlockLostError,
    BlockNotFoundError,
    BlockRejectedError,
    FencedError,
    FingerprintMismatchError,
    KVMemoryError,
    PolicyError,
    StoreAwayError,
    StoreError,
    StreamReplacedError,
    UnknownNameError,
)
from memory.file_store.file_tier import FileTier
from memory.followed_memory import FollowedMemory
from memory.host_tier import HostTier
from memory.keep_policy import KeepPolicy
from memory.kv_block import BlockInfo, KVBlock
from memory.kv_memory import KVMemory
from memory.memory_reader import MemoryReader, MemoryStats
from memory.moment_index import Hit, MomentIndex
from memory.open_memory import (
    erase_stored,
    follow_memory,
    note_stored,
    open_memory,
    open_stored,
)
from memory.policies import POLICIES, policy_named, written_under
from memory.policies.policy import Encoding, MemoryPolicy, ModelShape
from memory.redis_store.redis_link import RedisLink
from memory.row_cache import RowCache
from memory.store_address import is_redis, require_stream_id, store_name
from memory.stored_records import stored_records
from memory.stored_streams import FoundStream, StoredStream, find_stream, stored_ids, stored_streams
from memory.stream_make import StreamMake

__all__ = [
    "POLICIES",
    "BlockCodec",
    "BlockCorruptError",
    "BlockHead",
    "BlockIndex",
    "BlockInfo",
    "BlockLostError",
    "BlockNotFoundError",
    "BlockRecord",
    "BlockRejectedError",
    "BlockStore",
    "Encoding",
    "FencedError",
    "FileTier",
    "FingerprintMismatchError",
    "FollowedMemory",
    "FoundStream",
    "Hit",
    "HostTier",
    "KVBlock",
    "KVMemory",
    "KVMemoryError",
    "KeepPolicy",
    "MemoryConfig",
    "MemoryPolicy",
    "MemoryReader",
    "MemoryStats",
    "ModelShape",
    "MomentIndex",
    "PolicyError",
    "RedisLink",
    "RowCache",
    "RowForm",
    "RowLayout",
    "Similarity",
    "Span",
    "StoreAwayError",
    "StoreError",
    "StoredStream",
    "StreamMake",
    "StreamReplacedError",
    "UnknownNameError",
    "codec_named",
    "erase_stored",
    "find_stream",
    "follow_memory",
    "is_redis",
    "note_stored",
    "open_memory",
    "open_stored",
    "policy_named",
    "require_stream_id",
    "store_name",
    "stored_ids",
    "stored_records",
    "stored_streams",
    "written_under",
]
