"""KVMemory: what one stream remembers; blocks in, keys and values of chosen blocks out.

It keeps three things in step: the tiers with the encoded rows, the index of representative keys,
and what is known of each block. It chooses nothing: which blocks to read is the caller's decision.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import isfinite
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from memory.block_codec import codec_named
from memory.block_index import BlockIndex, Similarity
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import DurableStore
from memory.errors import BlockNotFoundError, BlockRejectedError, StoreError
from memory.host_tier import HostTier
from memory.kv_block import BlockInfo, KVBlock
from memory.row_decoder import RowDecoder
from memory.row_layout import DTYPES, RowLayout
from memory.stream_directory import StreamDirectory
from memory.stream_make import StreamMake


@dataclass(frozen=True)
class MemoryStats:
    """`from_s` to `to_s` is the span of the blocks that can be read; both are 0 without blocks.

    `cut_bytes` is what a writer that died had left unfinished, and was cut off on opening.
    """

    blocks: int
    dropped: int
    bytes_by_tier: dict[str, int]
    index_bytes: int
    cut_bytes: int
    from_s: float
    to_s: float
    codec: str


class KVMemory:
    """One stream's blocks, numbered from 0 in stream order. Made by `open_memory`.

    There is one writer, and calls (reads too: they move what the host tier caches) are serialised
    by the caller. No call but `append` and `set_note` changes what is stored.
    """

    def __init__(
        self,
        make: StreamMake,
        device: torch.device,
        host: HostTier,
        lower: DurableStore | None = None,
        directory: StreamDirectory | None = None,
    ) -> None:
        """Takes over the tiers and the directory, and what `lower` already holds.

        With nothing below, the host tier's budget drops the oldest blocks; otherwise the host tier
        is a cache of what lies below.
        """
        self._make = make
        self._codec = codec_named(make.codec)
        self._decoder = RowDecoder(self._codec, make.kv_heads, make.head_dim)
        self._host = host
        self._lower = lower
        self._directory = directory
        self._note = directory.note if directory else {}
        self._index = BlockIndex(make.layers, make.kv_heads * make.head_dim, device)
        self._infos: dict[int, BlockInfo] = {}
        self._layouts: dict[int, RowLayout] = {}
        self._ends_s: list[float] = []
        self._is_open = True
        if lower is not None:
            for head in lower.recover():
                make.require_same(head.make, f"block {self.num_blocks}")
                self._remember(head)

    @property
    def num_blocks(self) -> int:
        """Blocks appended so far, dropped ones included: the id of the next block."""
        return self._index.num_blocks

    @property
    def first_block(self) -> int:
        """The oldest block that can still be read; those below were dropped."""
        return self._index.first_block

    @property
    def note(self) -> dict[str, Any]:
        """What the caller last gave to `set_note`; a copy."""
        return deepcopy(self._note)

    def set_note(self, note: dict[str, Any]) -> None:
        """Keep JSON-able facts about the stream beside its blocks, replacing the last ones.

        Blocks are flushed first, so that after a power cut the note never speaks of blocks that are
        gone. That waits for the disk twice: call it now and then, not for every block.
        """
        self._require_open()
        try:
            note = json.loads(json.dumps(note, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise StoreError(f"memory: the note must be JSON-able: {error}") from error
        self.flush()
        if self._directory is not None:
            self._directory.set_note(note)
        self._note = note

    def append(self, block: KVBlock) -> int:
        """Encode and keep a block; its id.

        Raises BlockRejectedError if it does not fit the stream or cannot be encoded, and StoreError
        if it cannot be written. Then nothing has changed.
        """
        self._require_open()
        self._require_fitting(block)
        block_id = self.num_blocks
        record = self._encoded(block)
        if self._lower is not None:
            self._lower.put(block_id, record)
        self._host.put(block_id, record)
        self._remember(record.head)
        self._keep_budget()
        return block_id

    def visible(self, at_s: float | None) -> int:
        """How many blocks ended at `at_s` or before; all of them for None."""
        return self.num_blocks if at_s is None else bisect_right(self._ends_s, at_s)

    def info(self, block_id: int) -> BlockInfo:
        """Raises BlockNotFoundError."""
        self._require_known((block_id,))
        return self._infos[block_id]

    def scores(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        num_blocks: int,
        similarity: Similarity,
    ) -> Float32[Tensor, " blocks"]:
        """Similarity of each block below `num_blocks`, -inf for dropped ones; see BlockIndex."""
        return self._index.scores(layer, query, num_blocks, similarity)

    def cosines(
        self, layer: int, query: Float[Tensor, " kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, " blocks"]:
        """Cosine of the query with these blocks' representative keys. See BlockIndex."""
        self._require_known(block_ids)
        return self._index.cosines(layer, query, block_ids)

    def search(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        num_blocks: int,
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        """Ids of the best blocks below `num_blocks`, in stream order; see BlockIndex."""
        return self._index.search(layer, query, num_blocks, top_k, similarity, chunk_blocks)

    def read(
        self, layer: int, block_ids: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> tuple[
        Float[Tensor, "kv_heads tokens head_dim"],
        Float[Tensor, "kv_heads tokens head_dim"],
    ]:
        """Keys (before RoPE) and values of one layer, block after block in the order given.

        Raises BlockNotFoundError, BlockCorruptError, StoreError.
        """
        self._require_open()
        self._require_known(block_ids)
        layouts = [self._layouts[block_id] for block_id in block_ids]
        return self._decoder.decode(self._rows(layer, block_ids), layouts, dtype, device)

    def stats(self) -> MemoryStats:
        bytes_by_tier = {"host": self._host.num_bytes}
        if self._lower is not None:
            bytes_by_tier[self._lower.name] = self._lower.num_bytes
        oldest = self._infos.get(self.first_block)
        return MemoryStats(
            blocks=self.num_blocks - self.first_block,
            dropped=self.first_block,
            bytes_by_tier=bytes_by_tier,
            index_bytes=self._index.num_bytes,
            cut_bytes=self._lower.cut_bytes if self._lower else 0,
            from_s=oldest.start_s if oldest else 0.0,
            to_s=self._ends_s[-1] if oldest else 0.0,
            codec=self._make.codec,
        )

    def flush(self) -> None:
        """Return once all blocks would survive a power cut (at once if nothing is on disk)."""
        self._require_open()
        if self._lower is not None:
            self._lower.flush()

    def close(self) -> None:
        """Flush and let go of the files; a second time does nothing."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            if self._lower is not None:
                self._lower.close()
        finally:
            if self._directory is not None:
                self._directory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _encoded(self, block: KVBlock) -> BlockRecord:
        keys, values, info = block.keys.detach(), block.values.detach(), block.info
        encoded = self._codec.encode(keys, values).cpu().numpy()
        if self._lower is None and encoded.nbytes > self._host.budget_bytes:
            raise BlockRejectedError(
                f"memory: a block of {encoded.nbytes} bytes does not fit into host_bytes = "
                f"{self._host.budget_bytes}; raise host_bytes or keep the blocks in files"
            )
        head = BlockHead(
            make=self._make,
            layout=RowLayout(keys.shape[1], keys.shape[2], keys.shape[3], keys.dtype),
            info=replace(
                info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
            ),
            representative_keys=keys.float().mean(dim=2).flatten(1),
        )
        return BlockRecord(head, tuple(row.tobytes() for row in encoded))

    def _remember(self, head: BlockHead) -> None:
        block_id = self.num_blocks
        self._infos[block_id] = head.info
        self._layouts[block_id] = head.layout
        self._ends_s.append(head.info.end_s)
        self._index.append(head.representative_keys)

    def _keep_budget(self) -> None:
        if self._lower is not None:
            self._host.evict()
            return
        while self._host.is_over_budget:
            dropped = self.first_block
            self._host.drop_block(dropped, self._make.layers)
            del self._infos[dropped], self._layouts[dropped]
            self._index.drop_before(dropped + 1)

    def _rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        """From the host tier, into which those that it lacks are brought first."""
        if self._lower is not None:
            asked = dict.fromkeys(block_ids)
            missing = [block_id for block_id in asked if not self._host.holds(layer, block_id)]
            for block_id, row in zip(missing, self._lower.read_rows(layer, missing), strict=True):
                self._host.put_row(layer, block_id, row)
        rows = self._host.read_rows(layer, block_ids)
        self._host.evict()
        return rows

    def _require_fitting(self, block: KVBlock) -> None:
        make, info = self._make, block.info
        wanted = (make.layers, make.kv_heads, info.num_tokens, make.head_dim)
        where = f"memory: block {self.num_blocks}"
        for name, tensor in (("keys", block.keys), ("values", block.values)):
            if tuple(tensor.shape) != wanted or info.num_tokens == 0:
                raise BlockRejectedError(
                    f"{where}: {name} have shape {tuple(tensor.shape)}, this stream wants "
                    f"[layers, kv_heads, tokens >= 1, head_dim] = {wanted}"
                )
        if block.keys.dtype not in DTYPES.values() or block.values.dtype != block.keys.dtype:
            raise BlockRejectedError(
                f"{where}: keys are {block.keys.dtype}, values {block.values.dtype}; both must be "
                f"the same, one of {', '.join(DTYPES)}"
            )
        if not all(isfinite(time_s) for time_s in (info.start_s, info.end_s, info.captured_at)):
            raise BlockRejectedError(
                f"{where}: start {info.start_s} s, end {info.end_s} s and capture time "
                f"{info.captured_at} must be finite"
            )
        if self._ends_s and info.end_s < self._ends_s[-1]:
            raise BlockRejectedError(
                f"{where}: ends at {info.end_s} s, before the block ahead of it "
                f"({self._ends_s[-1]} s); blocks are appended in stream order"
            )

    def _require_known(self, block_ids: Sequence[int]) -> None:
        first, num_blocks = self.first_block, self.num_blocks
        for block_id in block_ids:
            if not first <= block_id < num_blocks:
                raise BlockNotFoundError(
                    f"memory: block {block_id} was asked for, blocks {first} to {num_blocks - 1} "
                    "are kept; a larger host_bytes or a file store keeps more"
                )

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreError("memory: it is closed; open it again with open_memory")
