"""Frames pushed ahead: encoded beside the next chunk's passes, into what `push` makes of them."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from engine import FAMILIES, all_logits, open_session, stream_frames, tiny_video_llm

from memory import StoreError

QUICK = {"window_frames": 6, "window_stride": 3, "chunk_frames": 2, "retrieve_blocks": 3}
LONG_S = 20


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


def open_quick(model, **options):
    return open_session(model, codec="exact", **QUICK, **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_frames_pushed_ahead_make_the_blocks_that_pushed_frames_make(family):
    model = tiny_video_llm(family)[0]
    size = model.family.frames_per_block
    ahead, pushed = open_quick(model), open_quick(model)
    frames = stream_frames(12 * size)
    for start in range(0, len(frames), 2 * size):
        ahead.push_ahead(frames[start : start + 2 * size])
        pushed.push(frames[start : start + 2 * size])
    ahead.catch_up()
    assert ahead.memory.num_blocks == pushed.memory.num_blocks == 12
    assert torch.equal(all_logits(ahead, "what?"), all_logits(pushed, "what?"))


def test_the_device_goes_on_while_a_chunk_is_encoded(llama, monkeypatch):
    session, second_seen = open_quick(llama), threading.Event()
    encoded, encode = session.memory.encoded, llama.family.encode
    calls = []

    def encoded_late(block):
        assert second_seen.wait(LONG_S), "the second chunk waited for the first one"
        return encoded(block)

    def encode_watched(groups):
        calls.append(groups)
        if len(calls) == 2:
            second_seen.set()
        return encode(groups)

    monkeypatch.setattr(session.memory, "encoded", encoded_late)
    monkeypatch.setattr(llama.family, "encode", encode_watched)
    session.push_ahead(stream_frames(4))
    session.catch_up()
    assert session.memory.num_blocks == 4


@pytest.mark.parametrize("step", ["encoded", "take"])
def test_what_fails_on_the_way_is_told_once_and_the_session_goes_on(llama, monkeypatch, step):
    session = open_quick(llama)
    session.push(stream_frames(3))

    def full(_):
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(session.memory, step, full)
        session.push_ahead(stream_frames(2, start=3))
        with pytest.raises(StoreError, match="disk full"):
            session.catch_up()
    session.catch_up()
    assert session.memory.num_blocks == 3
    session.push(stream_frames(5, start=3))
    whole = open_quick(llama)
    whole.push(stream_frames(8))
    torch.testing.assert_close(
        all_logits(session, "what?"), all_logits(whole, "what?"), atol=1e-5, rtol=0
    )


def test_a_chunk_after_one_that_failed_is_not_kept(llama, monkeypatch):
    session, take = open_quick(llama), []

    def full(record):
        take.append(record)
        raise StoreError("disk full")

    monkeypatch.setattr(session.memory, "take", full)
    with pytest.raises(StoreError, match="disk full"):
        session.push_ahead(stream_frames(6))
    session.catch_up()
    assert len(take) == 1
    assert session.memory.num_blocks == 0


def test_forgetting_waits_for_the_chunk_on_its_way(llama, monkeypatch):
    session, may_end = open_quick(llama), threading.Event()
    session.push(stream_frames(3))
    encoded = session.memory.encoded

    def encoded_late(block):
        assert may_end.wait(LONG_S)
        return encoded(block)

    monkeypatch.setattr(session.memory, "encoded", encoded_late)
    session.push_ahead(stream_frames(2, start=3))
    with ThreadPoolExecutor(1) as other:
        forgetting = other.submit(session.forget, 1.5, 100.0)
        assert not forgetting.done()
        may_end.set()
        assert forgetting.result(LONG_S) == 3
    session.push(stream_frames(3, start=5))
    assert session.memory.visible(None) == [0, 1, 5, 6, 7]


def test_closing_waits_for_the_chunk_on_its_way(llama, tmp_path):
    store = f"file://{tmp_path}"
    with open_quick(llama, store=store) as session:
        session.push_ahead(stream_frames(2))
    with open_quick(llama, store=store) as again:
        assert again.memory.num_blocks == 2
