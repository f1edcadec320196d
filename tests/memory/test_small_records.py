"""A block of few tokens is kept in few bytes: int4 by the token, vectors in int8, a short head."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block, memory_of, same_info

from memory import (
    BlockCorruptError,
    BlockInfo,
    BlockRecord,
    BlockRejectedError,
    FingerprintMismatchError,
    HostTier,
    KVBlock,
    MemoryConfig,
    MemoryReader,
    Provenance,
    StoreError,
    find_stream,
    follow_memory,
    open_memory,
)
from memory.aging_memory import coarser
from memory.block_head import IndexVectors
from memory.block_info import RowLayout
from memory.block_record import HEADER_BYTES
from memory.codecs.codec import block_of, codec_named, record_of
from memory.tiers.file.segment_file import SegmentFile

MAKE = Provenance("model-a fps=1 window=8/4", LAYERS, KV_HEADS, HEAD_DIM)
FINGERPRINT = "embedded-0123456789abcdef fps=1 window=16/4 max_side=384 float32 policy=moments{}"


def small(number=0, tokens=2, make=MAKE):
    block = kv_block(tokens, end_s=float(number), seed=number)
    return record_of(block, number, make, "int4_token", is_rewritten=True)


def moment(layers, kv_heads, head_dim, whole, kept, seed=0, codec="int4_token"):
    """A block of which some tokens are kept, found by the mean key of all; without a picture."""
    generator = torch.Generator().manual_seed(seed)
    keys, values = torch.randn(2, layers, kv_heads, whole, head_dim, generator=generator)
    index = keys.mean(dim=2).flatten(1)[:, None]
    info = BlockInfo(
        86_399.5, 86_400.0, 1.7e9, torch.arange(whole)[None, -kept:], torch.tensor([whole])
    )
    block = KVBlock(info, keys[:, :, :kept], values[:, :, :kept], b"", index)
    make = Provenance(FINGERPRINT, layers, kv_heads, head_dim)
    return record_of(block, 86_399, make, codec, is_rewritten=True)


def test_one_token_of_the_embedded_model_is_under_a_twentieth_of_its_block_in_bf16():
    num_bytes = len(moment(8, 4, 32, whole=12, kept=1).to_bytes())
    assert num_bytes == 2329
    assert num_bytes <= 12 * 4 * 32 * 8 * 2 * 2 / 20


def test_an_hour_of_23_tokens_in_the_shape_of_llava_onevision_7b_is_under_six_tenths_of_a_gib():
    num_bytes = len(moment(28, 4, 128, whole=196, kept=23).to_bytes())
    assert num_bytes == 354_687
    assert 1800 * num_bytes < 0.6 * 2**30
    codes_and_index = 28 * (2 * 4 * 23 * 128 // 2 + 512)
    assert 1800 * codes_and_index > 0.6e9, "no scales could be small enough for 0.6 GB"


def test_in_two_bits_an_hour_of_41_tokens_of_that_shape_is_under_0_6_gb():
    num_bytes = len(moment(28, 4, 128, whole=196, kept=41, codec="int2_token").to_bytes())
    assert num_bytes == 326_947
    assert 1800 * num_bytes < 0.6e9


@given(seed=st.integers(0, 99), tokens=st.integers(1, 6))
def test_of_two_bits_the_scale_leaves_no_more_error_than_one_that_reaches_all(seed, tokens):
    block = kv_block(tokens=tokens, seed=seed, head_dim=32)
    codec, layout = codec_named("int2_token"), RowLayout(KV_HEADS, tokens, 32, "float32")
    keys, _ = codec.decode(codec.encode(block.keys, block.values)[:1], layout, torch.float32)
    wanted = block.keys[0].float()
    scale = wanted.abs().amax(dim=-1, keepdim=True) * (2 / 3)
    reaching = ((wanted / scale + 1.5).round().clamp(0, 3) - 1.5) * scale
    errors = [(one - wanted).square().sum(dim=-1) for one in (keys, reaching)]
    assert (errors[0] <= errors[1] * 1.01 + 1e-6).all()
    assert errors[0].sum() < 0.9 * errors[1].sum()


vectors = st.integers(1, 3).flatmap(
    lambda count: st.lists(
        st.floats(-1e5, 1e5, width=32), min_size=2 * count * 4, max_size=2 * count * 4
    ).map(lambda numbers: np.array(numbers, dtype=np.float32).reshape(2, count, 4))
)


@given(vectors)
def test_vectors_in_int8_are_within_half_a_step_and_stay_as_they_are(wanted):
    index = IndexVectors.small(wanted)
    largest = np.abs(wanted).max(axis=2, keepdims=True)
    half_step = (np.maximum(largest / 127, 2**-14) * (1 + 2**-10)) / 2
    assert (np.abs(index.exact() - wanted) <= half_step * 1.0001).all()
    again = IndexVectors.small(index.exact())
    assert (again.numbers == index.numbers).all()
    assert (again.scales == index.scales).all()
    back = IndexVectors.from_bytes(index.to_bytes(), 2, 4, is_small=True)
    assert (back.exact() == index.exact()).all()
    assert index.nbytes == len(index.to_bytes())


@given(seed=st.integers(0, 50), tokens=st.integers(1, 5))
def test_a_small_record_comes_back_as_it_was(seed, tokens):
    record = small(seed, tokens)
    back = BlockRecord.from_bytes(record.to_bytes(), "here")
    assert (back.rows, back.thumbnail) == (record.rows, record.thumbnail)
    assert (back.head.block_id, back.head.form) == (seed, record.head.form)
    assert back.head.is_rewritten
    assert same_info(back.head.info, record.head.info)
    assert (back.head.representative_keys == record.head.representative_keys).all()
    MAKE.require_same(back.head.provenance, "here")
    assert back.to_bytes() == record.to_bytes()


@given(st.data())
def test_any_flipped_bit_of_a_small_record_is_found(data):
    flipped = bytearray(small().to_bytes())
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((BlockCorruptError, StoreError), match="here"):
        BlockRecord.from_bytes(bytes(flipped), "here")


@pytest.mark.parametrize(
    "other", [replace(MAKE, fingerprint="model-b fps=1 window=8/4"), replace(MAKE, kv_heads=4)]
)
def test_a_digest_is_that_of_one_fingerprint(other):
    back = BlockRecord.from_bytes(small().to_bytes(), "here").head.provenance
    assert not back.is_whole
    back.require_same(MAKE, "here")
    back.require_same(back, "here")
    for one, another in ((other, back), (back, other)):
        with pytest.raises(FingerprintMismatchError, match="made otherwise"):
            one.require_same(another, "here")


def test_offsets_that_all_tokens_share_cost_no_accuracy():
    """As the key projection of Qwen2 has: 80 in some channels, where others are about 1."""
    block = kv_block(tokens=12, head_dim=32)
    errors = []
    for offset in (0.0, 80.0):
        keys = block.keys.clone()
        keys[..., ::5] += offset
        whole = replace(block, keys=keys, index=keys.mean(dim=2).flatten(1)[:, None])
        cut = replace(
            whole,
            info=replace(block.info, positions=block.info.positions[:, :2]),
            keys=keys[:, :, :2],
            values=block.values[:, :, :2],
        )
        make = Provenance("m", LAYERS, KV_HEADS, 32)
        got = block_of(record_of(cut, 0, make, "int4_token")).keys
        errors.append(float((got - cut.keys).norm() / block.keys[:, :, :2].norm()))
    assert errors[1] < 1.3 * errors[0] < 0.3


def test_blocks_of_several_codecs_are_read_together_as_one_by_one():
    store = HostTier(1 << 20)
    blocks = [kv_block(tokens=1 + i % 3, end_s=float(i), seed=i) for i in range(9)]
    for i, block in enumerate(blocks):
        store.put(record_of(block, i, MAKE, ("int4_token", "int8", "exact")[i * 2 % 3]))
    reader = MemoryReader(MAKE, CPU, store)
    reader._remember(store.read_record(i).head for i in range(9))
    for layer in range(LAYERS):
        ids = [7, 0, 3, 3, 8, 1]
        together = reader.read(layer, ids, torch.float32, CPU)
        alone = [reader.read(layer, [i], torch.float32, CPU) for i in ids]
        for got, parts in zip(together, zip(*alone, strict=True), strict=True):
            assert torch.equal(got, torch.cat(parts, dim=1))
        for i, (keys, _) in zip(ids, alone, strict=True):
            assert torch.equal(keys, block_of(store.read_record(i)).keys[layer])
            assert (keys - blocks[i].keys[layer]).abs().max() < 0.5


def test_ageing_leaves_a_block_that_would_not_get_smaller():
    record = small(tokens=1)
    assert coarser(record) is record


def opened(store):
    make = (MAKE.fingerprint, LAYERS, KV_HEADS, HEAD_DIM, CPU)
    return open_memory(MemoryConfig(store=store, codec="int4_token"), "camera", *make)


def put(store, count):
    with opened(store) as memory:
        for i in range(count):
            memory.append(kv_block(tokens=2, end_s=float(i), seed=i))
        held = memory.representative_keys(range(count))
        read = memory.read(1, range(count), torch.float32, CPU)
    return held, read


@pytest.mark.parametrize("kind", ["file", "redis"])
def test_they_outlive_the_process_and_are_followed(kind, tmp_path, request):
    store = f"file://{tmp_path}" if kind == "file" else request.getfixturevalue("redis_server").url
    held, read = put(store, 20)
    with (
        opened(store) as memory,
        closing(follow_memory(MemoryConfig(store=store), "camera", CPU)) as reader,
    ):
        for one in (memory, reader):
            assert torch.equal(one.representative_keys(range(20)), held)
            assert all(map(torch.equal, one.read(1, range(20), torch.float32, CPU), read))
    with pytest.raises(FingerprintMismatchError, match="made otherwise"):
        memory_of(store, fingerprint="model-b")


@pytest.mark.parametrize("at", [0, 4, 8, HEADER_BYTES, HEADER_BYTES + 60, HEADER_BYTES + 90])
def test_a_flipped_bit_in_a_head_costs_that_block(at, tmp_path):
    held, _ = put(f"file://{tmp_path}", 20)
    [segment] = (tmp_path / "camera" / "segments").glob("*.vskv")
    with closing(SegmentFile(segment, 0, read_only=True)) as file:
        start = {head.block_id: file._extent(head.block_id).start for head in file.scan()}[7]
    content = bytearray(segment.read_bytes())
    content[start + at] ^= 1
    segment.write_bytes(content)
    with opened(f"file://{tmp_path}") as memory:
        kept = [i for i in range(20) if i != 7]
        assert memory.visible(None) == kept
        assert memory.stats().damaged == 1
        assert torch.equal(memory.representative_keys(kept), held[:, kept])


def test_without_a_description_small_blocks_do_not_tell_what_made_them(tmp_path):
    """A stream's newest blocks are whole, so it has some that do; here there is none."""
    store = f"file://{tmp_path}"
    put(store, 20)
    for path in (tmp_path / "camera").glob("stream*.json"):
        path.write_text("")
    with pytest.raises(StoreError, match="restore it from a copy"):
        find_stream(store, "camera")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1e7])
def test_vectors_that_int8_cannot_hold_are_refused(wrong):
    with pytest.raises(BlockRejectedError, match="index vectors hold"):
        IndexVectors.small(np.full((2, 1, 4), wrong, dtype=np.float32))
