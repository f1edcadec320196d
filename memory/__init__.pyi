from .aging_memory import KeepPolicy
from .best_blocks import Similarity
from .block_index import BlockIndex
from .block_info import BlockInfo, Provenance, RowForm, RowLayout
from .block_record import BlockHead, BlockRecord
from .block_store import BlockStore, RowCache, Span
from .codecs.codec import codec_named
from .config import MemoryConfig
from .errors import (
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
from .fault import Fault
from .kv_block import KVBlock
from .kv_memory import KVMemory
from .line_log import LineLog
from .memory_reader import MemoryReader
from .memory_stats import MemoryStats
from .moment_index import Hit, MomentIndex
from .open_memory import FollowedMemory, follow_memory, open_memory, open_stored
from .policies import POLICIES, policy_named, written_under
from .policies.policy import Encoding, MemoryPolicy, ModelShape
from .stream_report import StreamReport
from .tiers.file.file_tier import FileTier
from .tiers.file.in_files import stored_records
from .tiers.file.line_file import LineFile
from .tiers.memory import HostTier
from .tiers.redis.redis_lines import RedisLines
from .tiers.redis.redis_link import RedisLink
from .tiers.redis.redis_tasks import RedisTasks
from .tiers.tier import (
    FoundStream,
    StoredStream,
    erase_stored,
    find_stream,
    find_streams,
    note_stored,
    repair_stored,
    require_stream_id,
    store_name,
    stored_ids,
    stored_streams,
    tier_of,
    verify_stored,
    writer_name,
)

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
    "Fault",
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
    "LineFile",
    "LineLog",
    "MemoryConfig",
    "MemoryPolicy",
    "MemoryReader",
    "MemoryStats",
    "ModelShape",
    "MomentIndex",
    "PolicyError",
    "Provenance",
    "RedisLines",
    "RedisLink",
    "RedisTasks",
    "RowCache",
    "RowForm",
    "RowLayout",
    "Similarity",
    "Span",
    "StoreAwayError",
    "StoreError",
    "StoredStream",
    "StreamReplacedError",
    "StreamReport",
    "UnknownNameError",
    "codec_named",
    "erase_stored",
    "find_stream",
    "find_streams",
    "follow_memory",
    "note_stored",
    "open_memory",
    "open_stored",
    "policy_named",
    "repair_stored",
    "require_stream_id",
    "store_name",
    "stored_ids",
    "stored_records",
    "stored_streams",
    "tier_of",
    "verify_stored",
    "writer_name",
    "written_under",
]
