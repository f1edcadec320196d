"""A KVBlock to the record that stores keep of it, and back as the codec keeps it."""

from dataclasses import replace

import torch

from memory.block_record import BlockHead, BlockRecord
from memory.codecs.codec import codec_named
from memory.kv_block import KVBlock
from memory.rows.decoded_rows import decoded
from memory.rows.row_form import RowForm, RowLayout
from memory.rows.row_stage import on_host
from memory.stream_make import StreamMake


def record_of(
    block: KVBlock, block_id: int, make: StreamMake, codec: str, is_rewritten: bool = False
) -> BlockRecord:
    """Raises BlockRejectedError for numbers that the codec cannot hold."""
    keys, values, info = block.keys.detach(), block.values.detach(), block.info
    encoded = on_host(codec_named(codec).encode(keys, values)).numpy()
    layout = RowLayout(keys.shape[1], keys.shape[2], keys.shape[3], keys.dtype)
    index = keys.float().mean(dim=2) if block.index is None else block.index.float()
    head = BlockHead(
        block_id=block_id,
        make=make,
        form=RowForm(codec, layout),
        info=replace(
            info, positions=info.positions.long().cpu(), advance=info.advance.long().cpu()
        ),
        representative_keys=index.flatten(1).cpu().numpy(),
        is_rewritten=is_rewritten,
    )
    return BlockRecord(head, block.thumbnail, tuple(row.tobytes() for row in encoded))


def block_of(record: BlockRecord) -> KVBlock:
    """On the host, in the dtype that it was made in, with the index vectors that it has."""
    head, device = record.head, torch.device("cpu")
    layers = [
        decoded([row], [head.form], head.make, head.form.layout.dtype, device)
        for row in record.rows
    ]
    width = head.make.kv_heads * head.make.head_dim
    return KVBlock(
        head.info,
        keys=torch.stack([keys for keys, _ in layers]),
        values=torch.stack([values for _, values in layers]),
        thumbnail=record.thumbnail,
        index=torch.from_numpy(head.representative_keys.copy()).unflatten(1, (-1, width)),
    )
