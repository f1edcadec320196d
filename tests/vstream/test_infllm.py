"""What InfLLM's rules promise: of one layer, and of a stream and its questions."""

import threading
from dataclasses import replace

import pytest
import torch
from engine import all_logits, answer_of, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as some
from infllm_layer import OneLayer, rope_of

from encoders import VisualTokens
from memory import MemoryConfig, PolicyError, StoreAwayError, follow_memory
from vstream.engine.decoder import causal_attention
from vstream.engine.retrieval import view_at

HEADS, KV_HEADS, HEAD_DIM = 4, 2, 8
ROPE = rope_of(HEAD_DIM)
SMALL = {
    "policy": "infllm",
    "window_frames": 4,
    "retrieve_blocks": 3,
    "representatives": 2,
    "codec": "exact",
}
BLOCKS = 20
WHAT = "what is on the table?"


@some.composite
def streams(draw):
    """Tokens of the prefix, reach of the window, tokens of each block, and a seed."""
    counts = draw(some.lists(some.integers(1, 6), min_size=2, max_size=12))
    n_init, n_local = draw(some.integers(1, 5)), draw(some.integers(2, 30))
    return n_init, n_local, counts, draw(some.integers(0, 1000))


def tokens_of(stream):
    """Queries, keys and values."""
    n_init, _, counts, seed = stream
    random = torch.Generator().manual_seed(seed)
    shape = n_init + sum(counts), HEAD_DIM
    return [torch.randn(heads, *shape, generator=random) for heads in (HEADS, KV_HEADS, KV_HEADS)]


def pushed(stream, topk=2, representatives=2, at_once=1):
    """The layer and its output, its blocks coming `at_once` at a time."""
    n_init, n_local, counts, _ = stream
    tokens = tokens_of(stream)
    layer = OneLayer(ROPE, n_init, (n_local, topk, representatives), counts, KV_HEADS, HEAD_DIM)
    outputs = [layer.push(*(one[:, :n_init] for one in tokens), [n_init])]
    start = n_init
    for first in range(0, len(counts), at_once):
        part = slice(start, start := start + sum(counts[first : first + at_once]))
        new = (one[:, part] for one in tokens)
        outputs.append(layer.push(*new, counts[first : first + at_once]))
    return layer, torch.cat(outputs, dim=1)


@given(streams(), some.integers(2, 5))
@settings(max_examples=30, deadline=None)
def test_a_stream_cut_otherwise_is_the_same(stream, at_once):
    (one, output), (other, again) = pushed(stream), pushed(stream, at_once=at_once)
    torch.testing.assert_close(output, again, rtol=0, atol=1e-5)
    torch.testing.assert_close(one.looks, other.looks, rtol=0, atol=1e-5)
    assert one.retrieved == other.retrieved


@given(streams())
@settings(max_examples=30, deadline=None)
def test_all_tokens_as_representatives_are_the_mean_key(stream):
    layer, _ = pushed(stream, representatives=6)
    if layer.memory.num_blocks:
        ids = range(layer.memory.num_blocks)
        means = layer.memory.representative_keys(ids).unflatten(2, (KV_HEADS, HEAD_DIM))
        by_head = means.repeat_interleave(HEADS // KV_HEADS, dim=2).flatten(2)
        ours = layer.memory.head_vectors.vectors(ids)
        torch.testing.assert_close(ours, by_head, rtol=0, atol=1e-6)


@given(streams())
@settings(max_examples=30, deadline=None)
def test_a_window_as_long_as_the_stream_is_plain_attention(stream):
    n_init, _, counts, seed = stream
    tokens = n_init + sum(counts)
    layer, output = pushed((n_init, tokens, counts, seed))
    queries, keys, values = tokens_of(stream)
    positions = torch.arange(tokens)[None]
    rotated = ROPE.rotate(queries, positions), ROPE.rotate(keys, positions)
    plain = causal_attention(*rotated, values, HEAD_DIM**-0.5)
    torch.testing.assert_close(output, plain, rtol=0, atol=1e-5)
    torch.testing.assert_close(layer.looks.sum(dim=1), torch.full((HEADS,), float(tokens)))


@given(streams())
@settings(max_examples=30, deadline=None)
def test_no_query_looks_more_than_once_in_all(stream):
    n_init, _, counts, _ = stream
    layer, _ = pushed(stream)
    assert (layer.looks >= 0).all()
    assert (layer.looks.sum(dim=1) <= n_init + sum(counts) + 1e-3).all()


@given(streams())
@settings(max_examples=30, deadline=None)
def test_where_there_are_no_more_blocks_than_wanted_all_are_read(stream):
    _, n_local, counts, _ = stream
    layer, _ = pushed(stream, topk=12)
    held, gone = 0, 0
    for count, ids in zip(counts, layer.retrieved[1:], strict=True):
        assert ids == list(range(gone))
        held += count
        while gone < len(counts) and held - counts[gone] >= n_local:
            held, gone = held - counts[gone], gone + 1


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


@pytest.fixture(scope="module")
def whole(llama):
    with open_session(llama, **SMALL) as session:
        session.push(stream_frames(BLOCKS))
        yield session


def vectors(session):
    held = session.memory.head_vectors
    ids = [one for one in session.memory.visible(None) if one <= held.newest]
    return held.vectors(ids)


def assert_alike(one, other, atol=1e-5):
    torch.testing.assert_close(vectors(one), vectors(other), rtol=0, atol=atol)
    torch.testing.assert_close(all_logits(one, WHAT), all_logits(other, WHAT), rtol=0, atol=atol)
    assert one.ask(WHAT).retrieved == other.ask(WHAT).retrieved


@pytest.mark.parametrize(("codec", "atol"), [("exact", 1e-5), ("int4", 1e-4)])
def test_blocks_do_not_depend_on_the_chunk(llama, codec, atol):
    by_one = open_session(llama, **SMALL | {"codec": codec}, chunk_frames=1)
    by_four = open_session(llama, **SMALL | {"codec": codec}, chunk_frames=4)
    for session in (by_one, by_four):
        session.push(stream_frames(BLOCKS))
    assert by_one.memory.head_vectors.newest == BLOCKS - 5
    assert_alike(by_one, by_four, atol)


@pytest.mark.parametrize("blocks", [2, 6, 13])
@pytest.mark.parametrize("family", ["llama", "llava_onevision"])
def test_a_stream_that_was_closed_in_the_middle_of_a_window_goes_on(family, blocks, tmp_path):
    model, where = tiny_video_llm(family)[0], f"file://{tmp_path}"
    whole = open_session(model, **SMALL)
    whole.push(stream_frames(BLOCKS))
    with open_session(model, store=where, **SMALL) as first:
        first.push(stream_frames(blocks))
    with open_session(model, store=where, **SMALL) as second:
        second.push(stream_frames(BLOCKS - blocks, start=blocks))
        assert_alike(second, whole)


def test_what_the_window_has_collected_is_needed_to_go_on(llama, whole, tmp_path):
    """Or the tests above could not fail."""
    where = f"file://{tmp_path}"
    with open_session(llama, store=where, **SMALL) as first:
        first.push(stream_frames(13))
    [noted] = tmp_path.rglob("policy.state")
    noted.unlink()
    with open_session(llama, store=where, **SMALL) as second:
        second.push(stream_frames(BLOCKS - 13, start=13))
        assert float((vectors(second) - vectors(whole)).abs().max()) > 0.1


def test_a_still_camera_whose_blocks_are_all_alike_is_encoded(llama):
    frames = [replace(one, pixels=stream_frames(1)[0].pixels) for one in stream_frames(BLOCKS)]
    with open_session(llama, chunk_frames=5, **SMALL) as session:
        session.push(frames)
        assert session.memory.num_blocks == BLOCKS
        assert session.ask(WHAT).answer.token_ids


def test_a_question_reads_what_the_next_block_would(llama):
    with open_session(llama, **SMALL) as session:
        session.push(stream_frames(BLOCKS))
        text = llama.family.question(WHAT)
        asked = all_logits(session, WHAT)
        count = len(text.embeddings)
        as_block = VisualTokens(
            embeddings=text.embeddings,
            positions=torch.arange(count)[None],
            advance=torch.tensor([count]),
            is_visual=torch.zeros(count, dtype=torch.bool),
            start_s=99.0,
            end_s=99.0,
        )
        _, hidden = session.prefill.encode([as_block])
    torch.testing.assert_close(asked, llama.decoder.logits(hidden), rtol=0, atol=1e-5)


def test_a_question_s_window_holds_as_many_tokens_as_a_block_s(llama, whole):
    tokens = whole.memory.info(0).num_tokens
    for held, blocks in ((1, 1), (2 * tokens, 2), (2 * tokens + 1, 3), (10**6, BLOCKS)):
        assert view_at(whole.memory, None, 9, None, held).num_recent == blocks


def test_another_process_answers_the_same(llama, whole, tmp_path):
    with open_session(llama, store=f"file://{tmp_path}", **SMALL) as stored:
        stored.push(stream_frames(BLOCKS))
        assert answer_of(stored, WHAT) == answer_of(whole, WHAT)
        config = MemoryConfig(store=f"file://{tmp_path}")
        with follow_memory(config, "test", torch.device("cpu")) as reader:
            ids = range(reader.head_vectors.newest + 1)
            assert torch.equal(reader.head_vectors.vectors(ids), vectors(stored))


def test_a_window_that_was_forgotten_in_part_goes_on_as_after_a_restart(llama, tmp_path):
    sessions = []
    for name in ("kept", "opened_again"):
        session = open_session(llama, store=f"file://{tmp_path / name}", **SMALL)
        session.push(stream_frames(13))
        assert session.forget(10.0, 11.0) == 2
        sessions.append(session)
    kept, closed = sessions
    closed.close()
    again = open_session(llama, store=f"file://{tmp_path / 'opened_again'}", **SMALL)
    for session in (kept, again):
        session.push(stream_frames(7, start=13))
    assert_alike(kept, again)
    kept.close()
    again.close()


def test_a_store_that_is_away_while_a_block_wants_to_read_costs_no_frame(llama, whole, monkeypatch):
    with open_session(llama, **SMALL, chunk_frames=4) as session:
        session.push(stream_frames(12))
        read, calls = session.memory.read, []

        def away_once(*wanted):
            calls.append(wanted)
            if len(calls) == 2:
                raise StoreAwayError("away")
            return read(*wanted)

        monkeypatch.setattr(session.memory, "read", away_once)
        session.push_ahead(stream_frames(BLOCKS - 12, start=12), threading.Event())
        session.catch_up()
        assert_alike(session, whole)


def test_a_model_with_three_axes_is_refused_by_name():
    model = tiny_video_llm("qwen2_5_vl")[0]
    with pytest.raises(PolicyError, match="policy infllm: its rules are for one rotary axis"):
        open_session(model, policy="infllm")
