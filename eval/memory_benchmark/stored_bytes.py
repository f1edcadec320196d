"""stored_bytes: a memory in, the bytes of its store by what they are for out, alike for all."""

from collections import Counter

from memory import KVMemory, codec_named
from memory.block_record import HEADER_BYTES, BlockRecord, RecordHeader

PARTS = ("codes", "scales", "index", "heads and rest")
_BITS = 8


def stored_bytes(memory: KVMemory) -> dict[str, int]:
    """By PARTS, of all blocks; pictures are no part of them. What no block has is in the rest."""
    found: Counter[str] = Counter()
    pictures = 0
    for block_id in memory.visible(None):
        record = memory._store.read_record(block_id)
        found.update(_of_record(record))
        pictures += len(record.thumbnail)
    by_tier = memory.bytes_by_tier()
    whole = by_tier[list(by_tier)[-1]]
    found[PARTS[-1]] = whole - pictures - sum(found.values())
    return {part: found[part] for part in PARTS}


def _of_record(record: BlockRecord) -> dict[str, int]:
    codec, layout = codec_named(record.head.form.codec), record.head.form.layout
    rows = sum(map(len, record.rows))
    bits = getattr(codec, "bits", None)
    codes = rows if bits is None else len(record.rows) * 2 * layout.numel * bits // _BITS
    header = RecordHeader.from_bytes(record.head_bytes()[:HEADER_BYTES], "a block")
    return {"codes": codes, "scales": rows - codes, "index": header.vectors_bytes}
