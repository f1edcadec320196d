"""FoldedHistory: the blocks of minutes in, a stream of as many hours as wanted out.

Of a day of a large model neither keys and values nor the time to make them are at hand, and a
question needs neither: it searches the index, and reads what it finds. So the index is of full
size, and each of the blocks that are there stands for many, with representative keys of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from memory import BlockHead, BlockStore

_NOISE = 0.3
"""Of a key's size, by which the keys of blocks that stand for the same one differ."""


class FoldedHistory:
    """A BlockSource. The newest blocks are those of `store`; older ones repeat it."""

    name = "host"

    def __init__(self, store: BlockStore, num_blocks: int) -> None:
        """`store` holds the blocks from 0 on, none of them gone."""
        self._store = store
        self._count = store.next_id
        self._num_blocks = num_blocks

    @property
    def num_bytes(self) -> int:
        return 0

    @property
    def next_id(self) -> int:
        return self._num_blocks

    def recover(self) -> Iterator[BlockHead]:
        heads = [self._store.read_record(i).head for i in range(self._count)]
        length_s = heads[-1].info.end_s - heads[0].info.start_s
        repeats = -(-self._num_blocks // self._count)
        for number in range(self._num_blocks):
            head = heads[self._real(number)]
            before_s = (repeats + (number - self._num_blocks) // self._count) * length_s
            keys = torch.from_numpy(head.representative_keys)
            noisy = keys + _NOISE * keys.std() * torch.randn_like(keys)
            yield replace(
                head,
                block_id=number,
                info=replace(
                    head.info,
                    start_s=head.info.start_s + before_s,
                    end_s=head.info.end_s + before_s,
                ),
                representative_keys=noisy.numpy(),
            )

    def read_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        return self._store.read_rows(layer, [self._real(i) for i in block_ids])

    def read_thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        return self._store.read_thumbnails([self._real(i) for i in block_ids])

    def leave_out(self, block_id: int) -> None:
        """The store holds what it was just given."""

    def close(self) -> None:
        """The store goes on."""

    def _real(self, block_id: int) -> int:
        return (block_id - self._num_blocks) % self._count
