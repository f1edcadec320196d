"""FollowedMemory: a MemoryReader of a stream that another process writes, brought up to date."""

from collections.abc import Sequence

import torch

from memory.block_store import FollowedSource
from memory.errors import BlockLostError, BlockNotFoundError
from memory.kv_block import KeysAndValues
from memory.memory_reader import MemoryReader
from memory.row_cache import RowCache
from memory.stream_entry import Provenance


class FollowedMemory(MemoryReader):
    """What one stream remembers, seen from outside its writer. Made by `follow_memory`."""

    def __init__(
        self, provenance: Provenance, device: torch.device, source: FollowedSource, cache: RowCache
    ) -> None:
        """See MemoryReader."""
        self._followed = source
        super().__init__(provenance, device, source, cache)

    def refresh(self) -> None:
        """Learn what the writer has appended, encoded again or let go since the last time.

        Between two calls nothing changes unless a block is read that is no longer where it was.

        Raises StreamReplacedError if the stream has a new writer, FingerprintMismatchError,
        StoreError, BlockCorruptError if a block in Redis is damaged.
        """
        self._require_open()
        self._apply(self._followed.changes())

    def read(
        self, layer: int, block_ids: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> KeysAndValues:
        """See MemoryReader. What has been encoded again since the last refresh is read as it is."""
        try:
            return super().read(layer, block_ids, dtype, device)
        except BlockLostError:
            raise
        except BlockNotFoundError:
            self.refresh()
            return super().read(layer, block_ids, dtype, device)

    def thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        """See MemoryReader; and as `read`."""
        try:
            return super().thumbnails(block_ids)
        except BlockNotFoundError:
            self.refresh()
            return super().thumbnails(block_ids)
