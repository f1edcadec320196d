"""BlockCodec: keys and values of a block in, one row of bytes for each layer out, and back."""

from dataclasses import replace
from functools import cache
from typing import ClassVar

import torch

from memory.block_record import BlockHead, BlockRecord
from memory.errors import StoreError, UnknownNameError
from memory.kv_block import (
    EncodedRows,
    KeysAndValues,
    KVBlock,
    OfBlock,
    RowForm,
    RowLayout,
)
from memory.registry import Registry
from memory.stream_entry import Provenance


class BlockCodec:
    """Stateless: what decoding needs is in the row and its layout."""

    name: ClassVar[str] = ""

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

    Otherwise its numbers are read as they are kept and encoded again; its representative keys stay
    those of the block that was first encoded. Raises StoreError for an unknown codec.
    """
    form = record.head.form
    if form.codec == codec:
        return record
    keys, values = _kept(record, form.layout.dtype if codec == "exact" else torch.float32)
    head = replace(record.head, form=RowForm(codec, form.layout))
    return BlockRecord(head, record.thumbnail, codec_named(codec).rows(keys, values))


def record_of(
    block: KVBlock, block_id: int, provenance: Provenance, codec: str, is_rewritten: bool = False
) -> BlockRecord:
    """A block as stores keep it. Raises BlockRejectedError for numbers the codec cannot hold."""
    keys, values, info = block.keys.detach(), block.values.detach(), block.info
    layout = RowLayout(keys.shape[1], keys.shape[2], keys.shape[3], keys.dtype)
    index = keys.float().mean(dim=2) if block.index is None else block.index.float()
    head = BlockHead(
        block_id=block_id,
        provenance=provenance,
        form=RowForm(codec, layout),
        info=replace(
            info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
        ),
        representative_keys=index.flatten(1).cpu().numpy(),
        is_rewritten=is_rewritten,
    )
    if block.left:
        left = {i: one.detach().float().cpu().numpy() for i, one in block.left.items()}
        head = head.with_head_vectors(left)
    return BlockRecord(head, block.thumbnail, codec_named(codec).rows(keys, values))


def block_of(record: BlockRecord) -> KVBlock:
    """The block as it is kept, on the host, with the index vectors that it has."""
    head = record.head
    keys, values = _kept(record, head.form.layout.dtype)
    width = head.provenance.kv_heads * head.provenance.head_dim
    index = torch.from_numpy(head.own_keys.copy()).unflatten(1, (-1, width))
    left = {i: torch.from_numpy(one.copy()) for i, one in head.head_vectors.items()}
    return KVBlock(head.info, keys, values, record.thumbnail, index, left)


def _kept(record: BlockRecord, dtype: torch.dtype) -> tuple[OfBlock, OfBlock]:
    """Keys and values of all layers as they are kept, on the host."""
    form, layers = record.head.form, len(record.rows)
    rows = torch.frombuffer(bytearray().join(record.rows), dtype=torch.uint8).view(layers, -1)
    keys, values = (
        part.unflatten(1, (layers, form.layout.tokens)).transpose(0, 1)
        for part in codec_named(form.codec).decode(rows, form.layout, dtype)
    )
    return keys, values
