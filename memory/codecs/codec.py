"""BlockCodec: keys and values of a block in, one row of bytes for each layer out, and back."""

from dataclasses import replace
from functools import cache
from typing import ClassVar

import torch

from memory.block_head import IndexVectors
from memory.block_info import Provenance, RowForm, RowLayout
from memory.block_record import BlockHead, BlockRecord
from memory.errors import StoreError, UnknownNameError
from memory.kv_block import EncodedRows, KeysAndValues, KVBlock, OfBlock
from memory.registry import Registry


class BlockCodec:
    """Stateless: what decoding needs is in the row and its layout."""

    name: ClassVar[str] = ""
    is_small: ClassVar[bool] = False
    """Keys are encoded less the block's first index vector, whose own offsets the codec need not
    keep then; and the index vectors of a new block are kept in int8.
    """

    def row_bytes(self, layout: RowLayout) -> int:
        """Length of one encoded row."""
        raise NotImplementedError

    def encode(self, keys: OfBlock, values: OfBlock) -> EncodedRows:
        """One row for each layer, on the device of the keys.

        Raises BlockRejectedError if a number is not finite or beyond what the codec can keep.
        """
        raise NotImplementedError

    def rows(self, keys: OfBlock, values: OfBlock) -> tuple[bytes, ...]:
        """`encode`, into host memory. Waits for the current stream of a card alone."""
        encoded = self.encode(keys, values)
        if encoded.device.type == "cuda":
            pinned = torch.empty(encoded.shape, dtype=encoded.dtype, pin_memory=True)
            pinned.copy_(encoded, non_blocking=True)
            torch.cuda.current_stream(encoded.device).synchronize()
            encoded = pinned
        return tuple(row.tobytes() for row in encoded.numpy())

    def decode(self, rows: EncodedRows, layout: RowLayout, dtype: torch.dtype) -> KeysAndValues:
        """Keys and values of rows of one layout, one after the other, on the device of the rows."""
        raise NotImplementedError


CODECS = Registry(BlockCodec, "vstream.codecs", "codec")


@cache
def codec_named(name: str) -> BlockCodec:
    """The codec of that name. Raises StoreError, listing the known names."""
    try:
        return CODECS.find(name)()
    except UnknownNameError as error:
        raise StoreError(f"memory: {error}") from error


def recoded(record: BlockRecord, codec: str) -> BlockRecord:
    """The record itself if it is in that codec already.

    Otherwise its numbers are read as they are kept and encoded again; its index vectors stay those
    of the block that was first encoded. Raises StoreError for an unknown codec.
    """
    form = record.head.form
    if form.codec == codec:
        return record
    keys, values = _kept(record, form.layout.dtype if codec == "exact" else torch.float32)
    index = record.head.index
    if codec_named(codec).is_small and not index.is_small:
        index = IndexVectors.small(index.exact())
    head = replace(record.head, form=RowForm(codec, form.layout), index=index)
    return BlockRecord(head, record.thumbnail, _rows(codec, keys, values, index))


def record_of(
    block: KVBlock, block_id: int, provenance: Provenance, codec: str, is_rewritten: bool = False
) -> BlockRecord:
    """A block as stores keep it. Raises BlockRejectedError for numbers the codec cannot hold."""
    keys, values, info = block.keys.detach(), block.values.detach(), block.info
    mean = keys.float().mean(dim=2).flatten(1)[:, None]
    vectors = (mean if block.index is None else block.index.float()).cpu().numpy()
    is_small = codec_named(codec).is_small
    index = IndexVectors.small(vectors) if is_small else IndexVectors(vectors)
    head = BlockHead(
        block_id=block_id,
        provenance=provenance,
        form=RowForm(codec, RowLayout.of(keys)),
        info=replace(
            info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
        ),
        index=index,
        is_rewritten=is_rewritten,
        left={i: one.detach().float().cpu().numpy() for i, one in block.left.items()},
    )
    return BlockRecord(head, block.thumbnail, _rows(codec, keys, values, index))


def block_of(record: BlockRecord) -> KVBlock:
    """The block as it is kept, on the host, with the index vectors that it has."""
    head = record.head
    keys, values = _kept(record, head.form.layout.dtype)
    left = {i: torch.from_numpy(one.copy()) for i, one in head.left.items()}
    index = torch.from_numpy(head.index.exact().copy())
    return KVBlock(head.info, keys, values, record.thumbnail, index, left)


def _rows(codec: str, keys: OfBlock, values: OfBlock, index: IndexVectors) -> tuple[bytes, ...]:
    used = codec_named(codec)
    if used.is_small:
        keys = keys.float() - _centre(index, keys)
    return used.rows(keys, values)


def _kept(record: BlockRecord, dtype: torch.dtype) -> tuple[OfBlock, OfBlock]:
    """Keys and values of all layers as they are kept, on the host."""
    form, layers = record.head.form, len(record.rows)
    codec = codec_named(form.codec)
    rows = torch.frombuffer(bytearray().join(record.rows), dtype=torch.uint8).view(layers, -1)
    keys, values = (
        part.unflatten(1, (layers, form.layout.tokens)).transpose(0, 1)
        for part in codec.decode(rows, form.layout, dtype)
    )
    if codec.is_small:
        keys = keys + _centre(record.head.index, keys).to(dtype)
    return keys, values


def _centre(index: IndexVectors, like: OfBlock) -> OfBlock:
    """What is taken from the keys of a block, [layers, kv_heads, 1, head_dim]."""
    first = torch.from_numpy(index.exact()[:, 0]).to(like.device)
    return first.view(len(first), like.shape[1], 1, like.shape[3])
