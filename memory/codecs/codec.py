"""BlockCodec: encodes a block's keys and values into one row of bytes per layer, and back."""

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
    """Stateless: a row and its layout hold everything that decoding needs."""

    name: ClassVar[str] = ""
    is_small: ClassVar[bool] = False
    """Whether keys are encoded minus the block's first index vector, so that the codec need not
    store their common offset, and the index vectors of new blocks are int8.
    """

    def row_bytes(self, layout: RowLayout) -> int:
        """Return the length of one encoded row."""
        raise NotImplementedError

    def encode(self, keys: OfBlock, values: OfBlock) -> EncodedRows:
        """Encode one row per layer, on the keys' device.

        Raises BlockRejectedError if a number is not finite or out of the codec's range.
        """
        raise NotImplementedError

    def rows(self, keys: OfBlock, values: OfBlock) -> tuple[bytes, ...]:
        """Encode into host memory. On a GPU, waits only for its current stream."""
        encoded = self.encode(keys, values)
        if encoded.device.type == "cuda":
            pinned = torch.empty(encoded.shape, dtype=encoded.dtype, pin_memory=True)
            pinned.copy_(encoded, non_blocking=True)
            torch.cuda.current_stream(encoded.device).synchronize()
            encoded = pinned
        return tuple(row.tobytes() for row in encoded.numpy())

    def decode(self, rows: EncodedRows, layout: RowLayout, dtype: torch.dtype) -> KeysAndValues:
        """Decode rows of one layout into keys and values, concatenated, on the rows' device."""
        raise NotImplementedError


CODECS = Registry(BlockCodec, "vstream.codecs", "codec")


@cache
def codec_named(name: str) -> BlockCodec:
    """Return the codec of that name. Raises StoreError, listing the known names."""
    try:
        return CODECS.find(name)()
    except UnknownNameError as error:
        raise StoreError(f"memory: {error}") from error


def recoded(record: BlockRecord, codec: str) -> BlockRecord:
    """Return the record in that codec, or the record itself if it is in it already.

    Encodes the numbers as they are stored, errors included; the index vectors stay those of the
    block as first encoded. Raises StoreError for an unknown codec.
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
    """Encode a block for storing. Raises BlockRejectedError for numbers the codec cannot hold."""
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
    """Return the block as it is stored, on the host, with its index vectors."""
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
    """Decode the keys and values of all layers, on the host."""
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
    """Return what is subtracted from a block's keys, [layers, kv_heads, 1, head_dim]."""
    first = torch.from_numpy(index.exact()[:, 0]).to(like.device)
    return first.view(len(first), like.shape[1], 1, like.shape[3])
