"""A store of three segments, to be damaged: what is read of it is what was put."""

import os
from contextlib import closing
from functools import cache

import torch
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block

from memory import BlockNotFoundError, MemoryConfig, open_memory
from memory.tiers.file.segment_file import SegmentFile

NUM, PER_SEGMENT = 15, 5
NOTE = {"watched": "rtsp://door"}
STATE = {"seen": b"two cats", "heard": b"a bell"}
PAGE_BYTES = 4096


@cache
def block(number):
    return kv_block(tokens=44, end_s=float(number), seed=number)


def config_of(folder, **more):
    usual = {"codec": "exact", "host_bytes": 1 << 20, "segment_bytes": 1 << 16}
    return MemoryConfig(store=f"file://{folder}", **{**usual, **more})


def opened(folder, **more):
    make = ("model-a", LAYERS, KV_HEADS, HEAD_DIM, CPU)
    return open_memory(config_of(folder, **more), "camera", *make)


def write_sound(folder):
    """Fill a store and close it."""
    with opened(folder) as memory:
        for number in range(NUM):
            memory.append(block(number))
        memory.note_state(STATE)
        memory.set_note(NOTE)
    assert len(segments_of(folder)) == NUM // PER_SEGMENT


def segments_of(folder):
    return sorted((folder / "camera" / "segments").glob("*.vskv"))


def indexes_of(folder):
    return sorted((folder / "camera" / "segments").glob("*.index"))


def remove_indexes(folder):
    for path in indexes_of(folder):
        path.unlink()


def offsets_of(segment):
    """Where each record of a sound segment begins, and where the last one ends."""
    with closing(SegmentFile(segment, 0, read_only=True)) as file:
        ids = [head.block_id for head in file.scan()]
        return [0, *(file._extent(block_id).end for block_id in ids)]


def flip(path, at, mask=1):
    content = bytearray(path.read_bytes())
    content[at] ^= mask
    path.write_bytes(content)


def zero(path, start, end):
    content = bytearray(path.read_bytes())
    content[start:end] = bytes(len(content[start:end]))
    path.write_bytes(content)


def add_zeros(path, num_bytes):
    path.write_bytes(path.read_bytes() + bytes(num_bytes))


def cut(path, num_bytes):
    os.truncate(path, path.stat().st_size - num_bytes)


def blocks_of(memory):
    """The numbers of the blocks whose keys and values can be read; all are what was put."""
    found = []
    for block_id in memory.visible(None):
        number = round(memory.info(block_id).end_s)
        wanted = block(number)
        try:
            for layer in range(LAYERS):
                keys, values = memory.read(layer, [block_id], torch.float32, CPU)
                assert torch.equal(keys, wanted.keys[layer])
                assert torch.equal(values, wanted.values[layer])
        except BlockNotFoundError:
            continue
        assert memory.thumbnail(block_id) in (wanted.thumbnail, b"")
        if number < NUM:
            assert block_id == number
        found.append(number)
    return found


def content(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def descriptions(folder):
    return sorted((folder / "camera").glob("stream*.json"))
