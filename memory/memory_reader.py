"""MemoryReader: what one stream remembers, as questions need it; block ids in, keys and values out.

It keeps three things in step: where the encoded rows lie, the index of representative keys, and
what is known of each block. It chooses nothing: which blocks to read is the caller's decision.
"""

import gc
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import filterfalse, islice

import numpy as np
import structlog
import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from memory.ageing import COARSEST
from memory.block_facts import BlockFacts
from memory.block_index import BlockIndex
from memory.block_info import BlockInfo, Provenance, RowForm
from memory.block_record import BlockHead
from memory.block_store import BlockSource, Changes, RowCache
from memory.block_times import BlockTimes
from memory.closing import Closing
from memory.codecs.codec import codec_named
from memory.errors import BlockCorruptError, BlockLostError, BlockNotFoundError, StoreError
from memory.fault import Fault
from memory.head_vectors import HeadVectors
from memory.kv_block import KeysAndValues, KVBlock
from memory.memory_stats import MemoryStats
from memory.policy_hooks import State
from memory.rows.row_stage import decoded

REACH_S = 60.0
"""While nothing changes, a sampler keeps a frame so often."""
_BATCH_BLOCKS = 128
"""So many enter the index together when a memory is opened: their keys fit a processor's cache."""
_log = structlog.get_logger()


class MemoryReader(Closing):
    """One stream's blocks, numbered from 0 in stream order.

    Calls are serialised by the caller: reads move what the cache holds.
    """

    def __init__(
        self,
        provenance: Provenance,
        device: torch.device,
        source: BlockSource,
        cache: RowCache | None = None,
        index_bytes: int | None = None,
    ) -> None:
        """Takes over the tiers and what `source` holds; `cache` keeps copies of its rows above it.
        At most `index_bytes` of the index lie on the `device`; None: all of it.

        Raises FingerprintMismatchError, BlockCorruptError, StoreError.
        """
        self.provenance = provenance
        """What all its blocks have in common."""
        self._source = source
        self._cache = cache
        features = provenance.kv_heads * provenance.head_dim
        index_bytes = 0 if device.type == "cpu" else index_bytes
        self._index = BlockIndex(provenance.layers, features, device, index_bytes)
        self.search = self._index.search
        """Ids of the best blocks for a query."""
        self.facts = BlockFacts()
        """What was found out about blocks; goes with them."""
        self.head_vectors = HeadVectors(self._index, provenance.kv_heads, device, index_bytes)
        self._infos: dict[int, BlockInfo] = {}
        self._forms: dict[int, RowForm] = {}
        self._times = BlockTimes()
        self._ids = self._times.ids
        self._damaged: dict[int, tuple[BlockInfo, Fault]] = {}
        """Blocks whose rows or picture were found damaged as they were read."""
        self._rewritten: set[int] = set()
        self._whole_from = 0
        """Blocks from this id on are all there, as they were kept at first."""
        self._is_open = self._is_held = True
        collects = gc.isenabled()
        gc.disable()  # while many objects are made to stay it looks through all of them, in vain
        try:
            self._remember(source.recover())
        finally:
            if collects:
                gc.enable()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_readable} blocks up to {self.newest_s:g} s)"

    @property
    def num_blocks(self) -> int:
        """Blocks appended so far, those that are gone included: the id of the next block."""
        return self._source.next_id

    @property
    def newest_s(self) -> float:
        """Stream time of the end of the newest block; 0 without blocks."""
        return self._times.newest_s

    @property
    def num_readable(self) -> int:
        """Blocks that can still be read."""
        return len(self._ids)

    @property
    def first_block(self) -> int:
        """The oldest block that can still be read."""
        return self._ids[0] if self._ids else self.num_blocks

    @property
    def coarser_since(self) -> float | None:
        """Blocks from before this stream time were made coarser, rewritten or let go."""
        if not self._whole_from:
            return None
        at = bisect_left(self._ids, self._whole_from)
        return self._infos[self._ids[at]].start_s if at < len(self._ids) else self.newest_s

    def visible(self, at_s: float | None, from_s: float | None = None) -> list[int]:
        """Ids of the blocks that ended at `at_s` or before, in stream order; all for None.

        With `from_s` only those that show something from then on.
        """
        return list(self.seen(at_s, from_s))

    def seen(self, at_s: float | None, from_s: float | None = None) -> Sequence[int]:
        """As `visible`, of a week as quickly as of an hour where no block between them has gone."""
        return self._times.seen(at_s, from_s)

    def times(self, block_ids: Sequence[int]) -> Float64[np.ndarray, "3 blocks"]:
        """Starts, ends and captures of blocks; see BlockTimes. Raises BlockNotFoundError."""
        self._require_known(block_ids)
        return self._times.of(block_ids)

    def info(self, block_id: int) -> BlockInfo:
        """Raises BlockNotFoundError."""
        self._require_known((block_id,))
        return self._infos[block_id]

    def thumbnail(self, block_id: int) -> bytes:
        """The block's picture, a JPEG; empty if it is damaged. Raises as `thumbnails`."""
        return self.thumbnails((block_id,))[0]

    def thumbnails(self, block_ids: Sequence[int]) -> list[bytes]:
        """The pictures of blocks, in the order given and read at once; see `thumbnail`.

        Raises BlockNotFoundError, StoreError.
        """
        self._require_open()
        self._require_known(block_ids)
        try:
            return self._source.read_thumbnails(block_ids)
        except BlockCorruptError:
            return [self._picture(block_id) for block_id in block_ids]

    def representative_keys(
        self, block_ids: Sequence[int], layers: Sequence[int] | None = None
    ) -> Float32[Tensor, "layers blocks kv_heads*head_dim"]:
        """Their mean keys, in the order given; None: in every layer. Raises BlockNotFoundError."""
        self._require_known(block_ids)
        return self._index.keys(block_ids, layers)

    def cosines(
        self, queries: Float[Tensor, "layers kv_heads*head_dim"], block_ids: Sequence[int]
    ) -> Float32[Tensor, "layers blocks"]:
        """Cosines of queries, one for each layer, with these blocks' representative keys.

        Raises BlockNotFoundError.
        """
        self._require_known(block_ids)
        return self._index.cosines(queries, block_ids)

    def read(
        self, layer: int, block_ids: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> KeysAndValues:
        """Keys (before RoPE) and values of one layer, block after block in the order given.

        Raises BlockNotFoundError, StoreError; BlockLostError if blocks of these are damaged, which
        are left out from now on.
        """
        self._require_open()
        self._require_known(block_ids)
        forms = [self._forms[block_id] for block_id in block_ids]
        rows = self._rows(layer, block_ids)
        keys, values = decoded(rows, forms, self.provenance, dtype, device)
        some = [at for at, form in enumerate(forms) if codec_named(form.codec).is_small]
        if some:
            sizes = torch.tensor([form.layout.tokens for form in forms])
            centres = torch.zeros(len(forms), self.provenance.kv_heads, self.provenance.head_dim)
            vectors = self._index.keys([block_ids[at] for at in some], (layer,))
            centres[some] = vectors[0].view(len(some), *centres.shape[1:])
            keys += centres.repeat_interleave(sizes, dim=0).transpose(0, 1).to(keys)
        return keys, values

    def block(self, block_id: int) -> KVBlock:
        """Keys (before RoPE) and values of a block in all layers, decoded on the CPU to the dtype
        that they came in, its times and its picture. Raises as `read` and `thumbnails`.
        """
        info, cpu = self.info(block_id), torch.device("cpu")
        dtype = self._forms[block_id].layout.dtype
        layers = [self.read(n, (block_id,), dtype, cpu) for n in range(self.provenance.layers)]
        keys, values = map(torch.stack, zip(*layers, strict=True))
        return KVBlock(info, keys, values, self.thumbnail(block_id))

    @property
    def state(self) -> State:
        """What the memory policy has noted. Raises StoreError."""
        return self._source.state()

    def refresh(self) -> None:
        """Learn what somebody else has changed; where nobody else writes, nothing."""

    def bytes_by_tier(self) -> dict[str, int]:
        """What of `stats` can be had without a look at every block."""
        cached = {} if self._cache is None else {"host": self._cache.num_bytes}
        return {**cached, self._source.name: self._source.num_bytes}

    def seconds_by_tier(self) -> dict[str, float]:
        """The stream time that the blocks in each tier stand for. May be called by any thread.

        A block stands for the time since the end of the block before it that is still kept, and the
        first one for its own: what a sampler passed over in between looked the same, and what was
        thinned out lives on in its neighbours. But it stands for no more than `REACH_S`: of hours
        in which nobody watched, and of a stretch that was deleted, nothing is there.
        """
        ends_s = np.array(self._times.ends_s[:])
        stands_s = np.diff(ends_s, prepend=self._times.starts_s[:1]).clip(0, REACH_S)
        stands_us = np.rint(1e6 * stands_s)  # sums of whole numbers are exact
        tiers = {}
        if self._cache is not None:
            whole = self._cache.whole(self.provenance.layers)
            is_cached = np.isin(np.array(self._ids[: len(ends_s)]), whole)
            tiers["host"] = float(stands_us[: len(is_cached)][is_cached].sum()) / 1e6
        return {**tiers, self._source.name: float(stands_us.sum()) / 1e6}

    def stats(self) -> MemoryStats:
        return MemoryStats(
            blocks=len(self._ids),
            dropped=self.num_blocks - len(self._ids),
            blocks_by_codec=dict(Counter(form.codec for form in self._forms.values())),
            bytes_by_tier=self.bytes_by_tier(),
            seconds_by_tier=self.seconds_by_tier(),
            index_bytes=self._index.num_bytes,
            from_s=self._infos[self._ids[0]].start_s if self._ids else 0.0,
            to_s=self.newest_s,
            damage=[fault for _, fault in self._damaged.values()],
        )

    def shut(self) -> None:
        """Let nobody read or write any more. As quick as `close` may be slow, which must follow."""
        self._is_open = False

    def close(self) -> None:
        """Let go of what is open; a second time does nothing."""
        self.shut()
        if self._is_held:
            self._is_held = False
            self._source.close()

    def _remember(self, heads: Iterable[BlockHead]) -> None:
        """Blocks in stream order, newer than all others. Raises FingerprintMismatchError."""
        heads = iter(heads)
        while some := list(islice(heads, _BATCH_BLOCKS)):
            for head in {id(head.provenance): head for head in reversed(some)}.values():
                self.provenance.require_same(head.provenance, f"block {head.block_id}")
            for head in some:
                self._see_what_changed(head)
                self._infos[head.block_id] = head.info
                self._forms[head.block_id] = head.form
                self._times.append(head.block_id, head.info)
            keys = np.concatenate([head.representative_keys for head in some])
            by_block = torch.from_numpy(keys).unflatten(0, (len(some), -1))
            self._index.extend([head.block_id for head in some], by_block)
            for head in filter(lambda head: head.left, some):
                self.head_vectors.take(head, self._ids)

    def _see_what_changed(self, head: BlockHead) -> None:
        """Of the blocks before this newest one."""
        before = self._ids[-1] if self._ids else -1
        was_coarse = before in self._forms and self._forms[before].codec == COARSEST
        if head.block_id > before + 1 or (was_coarse and head.form.codec != COARSEST):
            self._whole_from = head.block_id
        if head.is_rewritten:
            self._rewritten.add(head.block_id)
            self._whole_from = head.block_id + 1

    def _drop(self, gone: Collection[int]) -> None:
        """Forget what is known of blocks that can no longer be read."""
        if not gone:
            return
        self._whole_from = max(self._whole_from, max(gone) + 1)
        self._rewritten -= set(gone)
        self._times.drop(gone)
        for block_id in gone:
            del self._infos[block_id], self._forms[block_id]
        self._index.drop(gone)
        self.head_vectors.drop(gone, self._infos)

    def _apply(self, changes: Changes) -> None:
        """Blocks are new, were encoded again, or are gone. Raises FingerprintMismatchError."""
        known_heads = [head for head in changes.heads if head.block_id in self._infos]
        lost = [block_id for block_id in changes.gone if block_id in self._infos]
        self._forget_rows([*lost, *(head.block_id for head in known_heads)])
        self._drop(set(lost))
        self._take_again(known_heads)
        self._remember(
            head
            for head in changes.heads
            if head.block_id not in self._infos and head.block_id not in self._damaged
        )

    def _take_again(self, heads: Sequence[BlockHead]) -> None:
        """Known blocks were encoded again, or rewritten by the memory policy."""
        for head in heads:
            block_id = head.block_id
            is_new = head.is_rewritten and block_id not in self._rewritten
            if is_new or head.form != self._forms[block_id]:
                self._whole_from = max(self._whole_from, block_id + 1)
            self._forms[block_id] = head.form
            if is_new:
                self._infos[block_id] = head.info
                self._times.replace(block_id, head.info)
                self._rewritten.add(block_id)
                self._index.replace(block_id, torch.tensor(head.representative_keys))

    def _forget_rows(self, block_ids: Collection[int]) -> None:
        """What lies below the cache has changed."""
        self.facts.drop(block_ids)
        if self._cache is not None:
            self._cache.forget(block_ids, self.provenance.layers)

    def _rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        if self._cache is None:
            return self._sound_rows(layer, block_ids)
        rows = self._cache.rows(layer, block_ids)
        missing = [block_id for block_id in dict.fromkeys(block_ids) if block_id not in rows]
        for block_id, row in zip(missing, self._sound_rows(layer, missing), strict=True):
            rows[block_id] = row
            self._cache.put_row(layer, block_id, row)
        return [rows[block_id] for block_id in block_ids]

    def _sound_rows(self, layer: int, block_ids: Sequence[int]) -> list[bytes]:
        """Raises BlockLostError if blocks of these are damaged."""
        try:
            return self._source.read_rows(layer, block_ids)
        except BlockCorruptError as error:
            lost = []
            for block_id in dict.fromkeys(block_ids):
                try:
                    self._source.read_rows(layer, (block_id,))
                except BlockCorruptError as why:
                    self._leave_out(block_id, why)
                    lost.append(block_id)
            if not lost:  # what was read the second time is sound
                return self._source.read_rows(layer, block_ids)
            told = ", ".join(map(str, lost))
            raise BlockLostError(f"memory: block {told} is damaged and left out") from error

    def _leave_out(self, block_id: int, why: BlockCorruptError) -> None:
        """Go on without a block that is damaged where it lies."""
        self._say_damaged(block_id, Fault(str(why), 1))
        self._source.leave_out(block_id)
        self._forget_rows((block_id,))
        self._drop({block_id})

    def _picture(self, block_id: int) -> bytes:
        try:
            return self._source.read_thumbnails((block_id,))[0]
        except BlockCorruptError as why:
            self._say_damaged(block_id, Fault(str(why)))
        return b""

    def _say_damaged(self, block_id: int, why: Fault) -> None:
        if block_id not in self._damaged:
            _log.error("a block is damaged", block=block_id, reason=str(why))
        self._damaged[block_id] = self._infos[block_id], why

    def _require_known(self, block_ids: Sequence[int]) -> None:
        block_id = next(filterfalse(self._infos.__contains__, block_ids), None)
        if block_id is None:
            return
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
            raise StoreError("memory: it is closed; open it again")
