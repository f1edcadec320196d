"""FollowedMemory: a MemoryReader of a stream that another process writes, brought up to date."""

import torch

from memory.block_store import FollowedSource
from memory.memory_reader import MemoryReader
from memory.row_cache import RowCache
from memory.stream_make import StreamMake


class FollowedMemory(MemoryReader):
    """What one stream remembers, seen from outside its writer. Made by `follow_memory`."""

    def __init__(
        self, make: StreamMake, device: torch.device, source: FollowedSource, cache: RowCache
    ) -> None:
        """See MemoryReader."""
        self._followed = source
        super().__init__(make, device, source, cache)

    def refresh(self) -> None:
        """Learn what the writer has appended, encoded anew or let go since the last time.

        Between two calls nothing changes but for blocks that can no longer be read: reading one
        raises BlockNotFoundError, and after a refresh it is known what is left.

        Raises FingerprintMismatchError, BlockCorruptError, StoreError.
        """
        self._require_open()
        changes = self._followed.changes()
        known_heads = [head for head in changes.heads if head.block_id in self._infos]
        lost = [block_id for block_id in changes.gone if block_id in self._infos]
        self._forget_rows([*lost, *(head.block_id for head in known_heads)])
        self._drop(set(lost))
        for head in known_heads:
            self._forms[head.block_id] = head.form
        for head in changes.heads:
            if head.block_id not in self._infos:
                self._remember(head)
