"""recoded: an encoded block and a codec in, the same block as that codec keeps it out."""

from dataclasses import replace

import torch

from memory.block_record import BlockRecord
from memory.codec.block_codec import codec_named
from memory.codec.row_form import RowForm

EXACT = "exact"
"""The codec that keeps the numbers of a block in the dtype in which it was made."""


def recoded(record: BlockRecord, codec: str) -> BlockRecord:
    """The record itself if it is in that codec already.

    Otherwise its numbers are read as they are kept and encoded anew; its representative keys stay
    those of the block that was first encoded. Raises StoreError for an unknown codec.
    """
    form = record.head.form
    if form.codec == codec:
        return record
    layout = form.layout
    rows = torch.frombuffer(bytearray().join(record.rows), dtype=torch.uint8)
    dtype = layout.dtype if codec == EXACT else torch.float32
    decoded = codec_named(form.codec).decode(rows.view(len(record.rows), -1), layout, dtype)
    keys, values = (
        part.unflatten(1, (len(record.rows), layout.tokens)).transpose(0, 1) for part in decoded
    )
    encoded = codec_named(codec).encode(keys, values).numpy()
    head = replace(record.head, form=RowForm(codec, layout))
    return BlockRecord(head, record.thumbnail, tuple(row.tobytes() for row in encoded))
