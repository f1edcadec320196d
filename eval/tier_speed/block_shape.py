"""BlockShape: the sizes of one model's KV blocks in, encoded blocks of random numbers out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle, islice
from random import Random

import torch

from memory import (
    BlockHead,
    BlockInfo,
    BlockRecord,
    RowForm,
    RowLayout,
    StreamMake,
    codec_named,
)

_DISTINCT = 4
_THUMBNAIL_BYTES = 4096


@dataclass(frozen=True)
class BlockShape:
    """What a block of one frame has."""

    name: str
    layers: int
    kv_heads: int
    head_dim: int
    tokens: int
    dtype: torch.dtype
    codec: str = "int8"

    @property
    def make(self) -> StreamMake:
        return StreamMake(f"random {self.name}", self.layers, self.kv_heads, self.head_dim)


LLAVA_ONEVISION_7B = BlockShape("LLaVA-OneVision-7B", 28, 4, 128, 196, torch.bfloat16)


def random_records(shape: BlockShape, num_blocks: int) -> Iterator[BlockRecord]:
    """Blocks one second apart; the numbers are normal, so that decoding them is as usual."""
    layout = RowLayout(shape.kv_heads, shape.tokens, shape.head_dim, shape.dtype)
    generator = torch.Generator().manual_seed(0)
    size = (2, shape.layers, shape.kv_heads, shape.tokens, shape.head_dim)
    distinct = []
    for number in range(_DISTINCT):
        keys, values = torch.randn(size, generator=generator).to(shape.dtype)
        rows = codec_named(shape.codec).encode(keys, values).numpy()
        info = BlockInfo(
            0.0, 0.0, 0.0, torch.arange(shape.tokens)[None], torch.tensor([shape.tokens])
        )
        means = keys.float().mean(dim=2).flatten(1).numpy()
        head = BlockHead(0, shape.make, RowForm(shape.codec, layout), info, means)
        picture = Random(number).randbytes(_THUMBNAIL_BYTES)
        distinct.append(BlockRecord(head, picture, tuple(row.tobytes() for row in rows)))
    for number, record in enumerate(islice(cycle(distinct), num_blocks)):
        info = replace(record.head.info, start_s=float(number), end_s=float(number))
        copies = tuple(bytes(memoryview(row)) for row in record.rows)  # more than a CPU's cache
        yield BlockRecord(replace(record.head, info=info), record.thumbnail, copies)
