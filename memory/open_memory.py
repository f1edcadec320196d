"""Open the memory of a stream, given a configuration and an id, to write or to follow it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch

from memory.aging_memory import KeepPolicy
from memory.block_info import Provenance
from memory.block_store import FollowedSource, RowCache
from memory.codecs.codec import codec_named
from memory.config import MemoryConfig
from memory.errors import BlockLostError, BlockNotFoundError
from memory.kv_block import KeysAndValues
from memory.kv_memory import KVMemory
from memory.memory_reader import MemoryReader
from memory.policies.policy import MemoryPolicy
from memory.tiers.tier import require_stream_id, tier_of


def open_memory(
    config: MemoryConfig,
    stream_id: str,
    fingerprint: str,
    layers: int,
    kv_heads: int,
    head_dim: int,
    device: torch.device,
    policy: MemoryPolicy | None = None,
) -> KVMemory:
    """Open a stream's memory in the store, or create it. The index lives on `device`.

    Leaves out damaged blocks of files and reports them. The newest blocks, which `policy` needs,
    never age; others age as it decides, at once if they exceed the budget.

    Raises StoreError if the store cannot be used, or another writer has the stream open;
    FingerprintMismatchError if its blocks were made by another model or settings; BlockCorruptError
    if a block in Redis is damaged.
    """
    provenance = Provenance(fingerprint, layers, kv_heads, head_dim)
    keep = KeepPolicy(
        config.codec,
        retain_s=config.retain_s,
        picture_bytes=config.picture_bytes,
        index_bytes=config.index_bytes,
    )
    if policy is not None:
        keep = replace(
            keep,
            keep_newest=policy.needed_blocks(),
            keep_blocks=policy.keep_blocks(),
            age=policy.age,
            forgotten=policy.forgotten,
            index_vectors=policy.index_vectors if policy.has("index_vectors") else None,
            rewrite=policy.rewrite if policy.has("rewrite") else None,
            outlasting=policy.outlasting if policy.has("outlasting") else None,
            rewritten_codec=policy.rewritten_codec(),
        )
    return _opened(config, stream_id, provenance, device, keep)


def open_stored(
    config: MemoryConfig, stream_id: str, policy: MemoryPolicy | None = None
) -> KVMemory:
    """Open a stream that the store already holds, whatever made it; nothing in it ages.

    `policy`, the stream's own, decides which notes go when a range is forgotten; without it all go.

    Raises what `open_memory` raises, and StoreError if there is no such stream.
    """
    config = config.model_copy(update={"file_bytes": None, "redis_bytes": None})
    keep = KeepPolicy(config.codec)
    if policy is not None:
        keep = replace(keep, forgotten=policy.forgotten)
    return _opened(config, stream_id, None, torch.device("cpu"), keep)


def _opened(
    config: MemoryConfig,
    stream_id: str,
    provenance: Provenance | None,
    device: torch.device,
    policy: KeepPolicy,
) -> KVMemory:
    for codec in filter(None, (config.codec, policy.rewritten_codec)):
        codec_named(codec)  # fail before anything is created
    tier = tier_of(config.store)
    entry = tier.enter(require_stream_id(stream_id), provenance)
    with ExitStack() as opened:
        opened.callback(entry.close)
        store = tier.blocks(entry, config)
        opened.callback(store.close)
        cache = RowCache(config.host_bytes) if tier.lasts else None
        memory = KVMemory(entry.provenance, device, store, policy, cache, entry)
        memory.age()
        opened.pop_all()
    return memory


class FollowedMemory(MemoryReader):
    """The memory of one stream, seen from outside its writer."""

    _source: FollowedSource

    def refresh(self) -> None:
        """Learn what the writer has appended, encoded again or evicted since the last call.

        Between calls nothing changes, unless a block that has moved is read.

        Raises StreamReplacedError if the stream has a new writer, FingerprintMismatchError,
        StoreError, and BlockCorruptError if a block in Redis is damaged.
        """
        self._require_open()
        self._apply(self._source.changes())

    def read(
        self, layer: int, block_ids: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> KeysAndValues:
        """See MemoryReader. Refreshes first if a block was encoded again since the last refresh."""
        try:
            return super().read(layer, block_ids, dtype, device)
        except BlockLostError:
            raise
        except BlockNotFoundError:
            self.refresh()
            return super().read(layer, block_ids, dtype, device)

    def thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        """See MemoryReader; refreshes as `read` does."""
        try:
            return super().thumbnails(block_ids)
        except BlockNotFoundError:
            self.refresh()
            return super().thumbnails(block_ids)


def follow_memory(config: MemoryConfig, stream_id: str, device: torch.device) -> FollowedMemory:
    """Open a stream for reading, whatever made it, while another process may write it.

    Raises StoreError if there is no such stream or it cannot be read from here; BlockCorruptError.
    """
    provenance, source = tier_of(config.store).follow(require_stream_id(stream_id))
    with ExitStack() as opened:
        opened.callback(source.close)
        cache = RowCache(config.host_bytes)
        memory = FollowedMemory(provenance, device, source, cache, config.index_bytes)
        opened.pop_all()
    return memory
