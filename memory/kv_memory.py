"""KVMemory: what one stream remembers; blocks in, keys and values of chosen blocks out.

It keeps three things in step: the tiers with the encoded rows, the index of representative keys,
and what is known of each block. It chooses nothing: which blocks to read is the caller's decision.
"""

import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from types import TracebackType
from typing import Any, Self

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from memory.ageing import COARSEST, AgeingCounts, coarser, redundant, thinnest
from memory.block_codec import codec_named
from memory.block_index import BlockIndex, Similarity
from memory.block_record import BlockHead, BlockRecord
from memory.block_store import BlockStore, Span
from memory.errors import BlockNotFoundError, StoreError
from memory.fitting_block import require_fitting
from memory.keep_policy import KeepPolicy
from memory.kv_block import BlockInfo, KVBlock
from memory.row_cache import RowCache
from memory.row_decoder import RowDecoder
from memory.row_form import RowForm
from memory.row_layout import RowLayout
from memory.stream_directory import StreamDirectory
from memory.stream_make import StreamMake


@dataclass(frozen=True)
class MemoryStats:
    """`from_s` to `to_s` is the span of the blocks that can be read; both are 0 without blocks.

    `dropped` are all blocks that can no longer be read; `ageing` says what became of blocks since
    the memory was opened. `cut_bytes` is what a writer that died had left unfinished.
    """

    blocks: int
    dropped: int
    blocks_by_codec: dict[str, int]
    bytes_by_tier: dict[str, int]
    index_bytes: int
    cut_bytes: int
    from_s: float
    to_s: float
    ageing: AgeingCounts


class KVMemory:
    """One stream's blocks, numbered from 0 in stream order. Made by `open_memory`.

    There is one writer, and calls (reads too: they move what the cache holds) are serialised by the
    caller. Stored blocks change by ageing alone, which `append` does where a budget asks for it,
    and by `forget`.
    """

    def __init__(
        self,
        make: StreamMake,
        device: torch.device,
        store: BlockStore,
        policy: KeepPolicy,
        cache: RowCache | None = None,
        directory: StreamDirectory | None = None,
    ) -> None:
        """Takes over the tiers and the directory, and what `store` already holds.

        `cache` holds copies of rows above a slower `store`.
        """
        self._make = make
        self._policy = policy
        self._codec = codec_named(policy.codec)
        self._decoder = RowDecoder(make.kv_heads, make.head_dim)
        self._store = store
        self._cache = cache
        self._directory = directory
        self._note = directory.note if directory else {}
        self._index = BlockIndex(make.layers, make.kv_heads * make.head_dim, device)
        self._infos: dict[int, BlockInfo] = {}
        self._forms: dict[int, RowForm] = {}
        self._ids: list[int] = []
        self._ends_s: list[float] = []
        self._ageing = AgeingCounts()
        self._is_open = True
        for head in store.recover():
            make.require_same(head.make, f"block {head.block_id}")
            self._remember(head)

    @property
    def num_blocks(self) -> int:
        """Blocks appended so far, those that are gone included: the id of the next block."""
        return self._store.next_id

    @property
    def first_block(self) -> int:
        """The oldest block that can still be read."""
        return self._ids[0] if self._ids else self.num_blocks

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
        if it cannot be written or the budget cannot hold it beside the blocks that must stay. Then
        no block has been added.
        """
        self._require_open()
        require_fitting(block, self._make, self.num_blocks, self._ends_s[-1:])
        record = self._encoded(block)
        self._expire(block.info.end_s)
        self._make_room(record)
        self._store.put(record)
        if self._cache is not None:
            self._cache.put(record)
        self._remember(record.head)
        return record.head.block_id

    def forget(self, from_s: float, to_s: float) -> int:
        """Delete the blocks that show any moment of [from_s, to_s]; how many there were.

        They are gone from every tier, from the index and from the pictures. Blocks that were
        encoded after them, and saw them in their local window, stay.
        """
        self._require_open()
        gone = {
            block_id
            for block_id, info in self._infos.items()
            if info.start_s <= to_s and info.end_s >= from_s
        }
        self._store.close_span()
        for span in self._store.spans():
            kept = [block_id for block_id in span.block_ids if block_id not in gone]
            if len(kept) < len(span.block_ids):
                self._replace(span, {i: self._store.read_record(i) for i in kept})
        return len(gone)

    def visible(self, at_s: float | None) -> list[int]:
        """Ids of the blocks that ended at `at_s` or before, in stream order; all for None."""
        end = len(self._ids) if at_s is None else bisect_right(self._ends_s, at_s)
        return self._ids[:end]

    def info(self, block_id: int) -> BlockInfo:
        """Raises BlockNotFoundError."""
        self._require_known((block_id,))
        return self._infos[block_id]

    def thumbnail(self, block_id: int) -> bytes:
        """The block's picture, a JPEG. Raises BlockNotFoundError, BlockCorruptError, StoreError."""
        self._require_open()
        self._require_known((block_id,))
        return self._store.read_thumbnail(block_id)

    def scores(
        self,
        layer: int,
        query: Float[Tensor, " kv_heads*head_dim"],
        below: int,
        similarity: Similarity,
    ) -> Float32[Tensor, " blocks"]:
        """Similarity of each kept block with an id `below` that; see BlockIndex."""
        return self._index.scores(layer, query, below, similarity)

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
        below: int,
        top_k: int,
        similarity: Similarity,
        chunk_blocks: int = 1,
    ) -> list[int]:
        """Ids of the best blocks with an id `below` that, in stream order; see BlockIndex."""
        return self._index.search(layer, query, below, top_k, similarity, chunk_blocks)

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
        forms = [self._forms[block_id] for block_id in block_ids]
        return self._decoder.decode(self._rows(layer, block_ids), forms, dtype, device)

    def stats(self) -> MemoryStats:
        bytes_by_tier = {self._store.name: self._store.num_bytes}
        if self._cache is not None:
            bytes_by_tier = {"host": self._cache.num_bytes, **bytes_by_tier}
        return MemoryStats(
            blocks=len(self._ids),
            dropped=self.num_blocks - len(self._ids),
            blocks_by_codec=dict(Counter(form.codec for form in self._forms.values())),
            bytes_by_tier=bytes_by_tier,
            index_bytes=self._index.num_bytes,
            cut_bytes=self._store.cut_bytes,
            from_s=self._infos[self._ids[0]].start_s if self._ids else 0.0,
            to_s=self._ends_s[-1] if self._ids else 0.0,
            ageing=replace(self._ageing),
        )

    def flush(self) -> None:
        """Return once all blocks would survive a power cut (at once if nothing is on disk)."""
        self._require_open()
        self._store.flush()

    def close(self) -> None:
        """Flush and let go of the files; a second time does nothing."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._store.close()
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
        layout = RowLayout(keys.shape[1], keys.shape[2], keys.shape[3], keys.dtype)
        head = BlockHead(
            block_id=self.num_blocks,
            make=self._make,
            form=RowForm(self._policy.codec, layout),
            info=replace(
                info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
            ),
            representative_keys=keys.float().mean(dim=2).flatten(1),
        )
        return BlockRecord(head, block.thumbnail, tuple(row.tobytes() for row in encoded))

    def _remember(self, head: BlockHead) -> None:
        self._infos[head.block_id] = head.info
        self._forms[head.block_id] = head.form
        self._ids.append(head.block_id)
        self._ends_s.append(head.info.end_s)
        self._index.append(head.block_id, head.representative_keys)

    def _expire(self, newest_s: float) -> None:
        """Let go of spans that are wholly older than `retain_s`."""
        if self._policy.retain_s is None:
            return
        for span in self._old_spans():
            if self._infos[span.block_ids[-1]].end_s >= newest_s - self._policy.retain_s:
                break
            self._ageing.dropped += len(span.block_ids)
            self._replace(span, {})

    def _make_room(self, record: BlockRecord) -> None:
        while not self._store.has_room(record):
            if self._age():
                continue
            before = len(self._store.spans())
            self._store.close_span()
            if len(self._store.spans()) == before or not self._old_spans():
                raise StoreError(
                    f"{self._store.name} tier: its budget of {self._store.budget_bytes} bytes "
                    f"cannot hold the newest {self._policy.keep_newest} blocks, which must stay, "
                    f"and one of {record.num_bytes} bytes; raise the budget"
                )

    def _age(self) -> bool:
        """Make one span coarser, thinner or go; False if there is none that may."""
        spans = self._old_spans()
        if not spans:
            return False
        fine = (s for s in spans if any(self._forms[i].codec != COARSEST for i in s.block_ids))
        span = next(fine, None)
        if span is not None:
            records = {i: coarser(self._store.read_record(i)) for i in span.block_ids}
            self._ageing.coarsened += len(records)
        elif (span := thinnest(spans)) is not None:
            ids = span.block_ids
            gone = {ids[at] for at in redundant(self._index.keys(ids), len(ids) // 2)}
            records = {i: self._store.read_record(i) for i in ids if i not in gone}
            self._ageing.thinned += len(gone)
        else:
            span, records = spans[0], {}
            self._ageing.dropped += len(span.block_ids)
        self._replace(span, records)
        return True

    def _old_spans(self) -> list[Span]:
        """The closed spans that hold none of the newest blocks, which must stay as they are."""
        if len(self._ids) <= self._policy.keep_newest:
            return []
        protected = self._ids[-self._policy.keep_newest] if self._policy.keep_newest else inf
        return [span for span in self._store.spans() if span.block_ids[-1] < protected]

    def _replace(self, span: Span, records: dict[int, BlockRecord]) -> None:
        self._store.replace(span.block_ids, records)
        if self._cache is not None:
            self._cache.forget(span.block_ids, self._make.layers)
        gone = set(span.block_ids) - set(records)
        for block_id, record in records.items():
            self._forms[block_id] = record.head.form
        if not gone:
            return
        kept = [
            (i, end_s) for i, end_s in zip(self._ids, self._ends_s, strict=True) if i not in gone
        ]
        self._ids, self._ends_s = [i for i, _ in kept], [end_s for _, end_s in kept]
        for block_id in gone:
            del self._infos[block_id], self._forms[block_id]
        self._index.drop(gone)

    def _rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        if self._cache is None:
            return self._store.read_rows(layer, block_ids)
        rows = self._cache.rows(layer, block_ids)
        missing = [block_id for block_id in dict.fromkeys(block_ids) if block_id not in rows]
        for block_id, row in zip(missing, self._store.read_rows(layer, missing), strict=True):
            rows[block_id] = row
            self._cache.put_row(layer, block_id, row)
        return [rows[block_id] for block_id in block_ids]

    def _require_known(self, block_ids: Sequence[int]) -> None:
        for block_id in block_ids:
            if block_id in self._infos:
                continue
            if not 0 <= block_id < self.num_blocks:
                raise BlockNotFoundError(
                    f"memory: block {block_id} was asked for, blocks 0 to {self.num_blocks - 1} "
                    "have been seen"
                )
            raise BlockNotFoundError(
                f"memory: block {block_id} was asked for and is no longer kept; the oldest that is "
                f"is {self.first_block}. A larger budget keeps more"
            )

    def _require_open(self) -> None:
        if not self._is_open:
            raise StoreError("memory: it is closed; open it again with open_memory")
