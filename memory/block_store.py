"""BlockStore: where encoded blocks are kept; records in by block id, one layer's rows out."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from memory.block_record import BlockHead, BlockRecord


class BlockStore(Protocol):
    """One file a kind of store. Stored rows never change; one caller at a time."""

    @property
    def num_bytes(self) -> int:
        """Bytes that the store takes up now."""
        ...

    def put(self, block_id: int, record: BlockRecord) -> None:
        """Keep a block. Raises StoreError if it cannot be written; then nothing has changed."""
        ...

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        """The rows of one layer, in the order asked for.

        Raises BlockNotFoundError, BlockCorruptError, StoreError.
        """
        ...


class DurableStore(BlockStore, Protocol):
    """A store that outlives the process, below the host tier."""

    name: str
    """As it appears in the statistics."""
    cut_bytes: int
    """Bytes of a half-written last block that `recover` had to cut off."""

    def recover(self) -> Iterator[BlockHead]:
        """Verify and yield the heads of the blocks kept so far, in order of their ids from 0.

        To be run to its end before anything else is asked of the store. Raises BlockCorruptError.
        """
        ...

    def flush(self) -> None:
        """Return once everything put so far would survive a power cut."""
        ...

    def close(self) -> None: ...
