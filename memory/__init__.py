"""Keys and values in, keys and values of chosen blocks out."""

from memory.block_index import BlockIndex, Similarity
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, Span
from memory.codecs.codec import codec_named
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
from memory.followed_memory import FollowedMemory
from memory.keep_policy import KeepPolicy
from memory.kv_block import BlockInfo, KVBlock
from memory.kv_memory import KVMemory
from memory.memory_reader import MemoryReader, MemoryStats
from memory.moment_index import Hit, MomentIndex
from memory.open_memory import follow_memory, open_memory, open_stored
from memory.policies import POLICIES, policy_named, written_under
from memory.policies.policy import Encoding, MemoryPolicy, ModelShape
from memory.row_cache import RowCache
from memory.rows.row_form import RowForm, RowLayout
from memory.store_address import require_stream_id, store_name
from memory.stored_streams import (
    erase_stored,
    find_stream,
    note_stored,
    stored_ids,
    stored_streams,
)
from memory.stream_make import StreamMake
from memory.tiers.file.file_tier import FileTier
from memory.tiers.file.in_files import stored_records
from memory.tiers.memory import HostTier
from memory.tiers.redis.redis_link import RedisLink
from memory.tiers.tier import FoundStream, StoredStream, tier_of

__all__ = [
    "POLICIES",
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
    "note_stored",
    "open_memory",
    "open_stored",
    "policy_named",
    "require_stream_id",
    "store_name",
    "stored_ids",
    "stored_records",
    "stored_streams",
    "tier_of",
    "written_under",
]
