"""What stood still is dropped, nothing else is; and what is left is computed exactly."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from engine import FAMILIES, all_logits, answer_of, stream_frames, tiny_video_llm
from engine import open_session as open_tiny_session
from hypothesis import given, settings
from hypothesis import strategies as st
from offline import offline_logits
from torch.nn.functional import cosine_similarity

from encoders import Frame, VisualTokens
from memory import FingerprintMismatchError, PolicyError, StoreError
from memory.token_drop import TokenDropper
from vstream import SettingsError, VStreamConfig, load_config, open_session
from vstream.engine import LocalWindow, Prefill, view_at

QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 5, "retrieve_blocks": 4}
BLOCKS = 12
STILL = 0.9999
TOLERANCE = 1e-5


def block(features, *, text=1, axes=1, deepstack=False):
    """`text` tokens of woven text, then one visual token for each row of `features`."""
    features = torch.as_tensor(features, dtype=torch.float32)
    tokens = text + len(features)
    return VisualTokens(
        embeddings=torch.cat([torch.full((text, features.shape[1]), 9.0), features]),
        positions=torch.arange(tokens).expand(axes, -1),
        advance=torch.full((axes,), tokens),
        is_visual=torch.arange(tokens) >= text,
        start_s=0.0,
        end_s=0.0,
        deepstack=torch.stack([features, -features]) if deepstack else None,
    )


def wandering_blocks(count, places=4, seed=0, **options):
    """Tokens that mostly stay where they are, at times drift and at times jump."""
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(places, 6, generator=random)
    blocks = []
    for _ in range(count):
        steps = torch.tensor([0.0, 0.05, 0.1, 3.0])
        pace = steps[torch.randint(4, (places, 1), generator=random)]
        features = features + pace * torch.randn(places, 6, generator=random)
        blocks.append(block(features, **options))
    return blocks


def is_same(one, other):
    parts = ("embeddings", "positions", "advance", "is_visual", "deepstack")
    pairs = [(getattr(one, part), getattr(other, part)) for part in parts]
    return all(torch.equal(a, b) if a is not None else b is None for a, b in pairs)


def num_visual(blocks):
    return [int(block.is_visual.sum()) for block in blocks]


@given(
    cuts=st.lists(st.integers(1, 4), max_size=6),
    whole_every=st.integers(0, 5),
    text=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_the_result_does_not_depend_on_the_cutting_into_chunks(cuts, whole_every, text, seed):
    blocks = wandering_blocks(BLOCKS, text=text, seed=seed, deepstack=True)
    expected = TokenDropper(0.99, whole_every).drop(blocks)
    dropper, pieces = TokenDropper(0.99, whole_every), []
    for cut in [*cuts, BLOCKS]:
        pieces += dropper.drop(blocks[len(pieces) : len(pieces) + cut])
    assert all(is_same(one, other) for one, other in zip(pieces, expected, strict=True))
    assert dropper.num_visual == 4 * BLOCKS
    assert dropper.num_dropped == 4 * BLOCKS - sum(num_visual(expected))


@given(
    similarity=st.floats(0.5, 0.9999),
    whole_every=st.integers(0, 5),
    text=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_only_what_looks_like_the_last_kept_is_dropped(similarity, whole_every, text, seed):
    blocks = wandering_blocks(BLOCKS, text=text, seed=seed, deepstack=True)
    kept_at, kept_in = torch.zeros(4, 6), torch.zeros(4, dtype=torch.long)
    results = TokenDropper(similarity, whole_every).drop(blocks)
    for number, (whole, left) in enumerate(zip(blocks, results, strict=True)):
        at = left.positions[0]
        assert len(at) >= 1
        assert torch.equal(left.embeddings, whole.embeddings[at])
        assert torch.equal(left.is_visual, whole.is_visual[at])
        assert torch.equal(at[:text], torch.arange(text)), "woven text stays"
        assert torch.equal(left.advance, whole.advance)
        places = at[text:] - text
        assert torch.equal(left.deepstack, whole.deepstack[:, places])
        kept_at[places], kept_in[places] = left.embeddings[text:], number
        likeness = cosine_similarity(whole.embeddings[text:], kept_at, dim=1)
        assert bool((likeness >= similarity - 1e-5).all()), "tau near to something kept"
        if whole_every:
            assert int(kept_in.min()) > number - whole_every, "in the last so many blocks"


def test_a_drift_too_slow_for_two_neighbours_is_followed():
    """The paper's rule, against the frame before, would keep nothing but the first frame."""
    step, degrees = 2.0, 90
    angles = torch.deg2rad(torch.arange(0, degrees, step))
    turning = [block([[float(a.cos()), float(a.sin())]]) for a in angles]
    neighbours = math.cos(math.radians(step))
    allowed = math.cos(math.radians(9))
    assert neighbours > allowed
    counts = num_visual(TokenDropper(allowed).drop(turning))
    assert counts == [int(n % 5 == 0) for n in range(len(turning))], "again after each 10 degrees"


def test_a_similarity_of_one_drops_nothing():
    still = [block(torch.randn(50, 7, generator=torch.Generator().manual_seed(3)))] * 4
    for whole, left in zip(still, TokenDropper(1.0).drop(still), strict=True):
        assert is_same(whole, left)


def test_a_block_without_text_keeps_the_token_that_changed_most():
    first = [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    second = [[1.0, 0.01], [1.0, 0.05], [1.0, 0.02]]
    left = TokenDropper(0.9).drop([block(first, text=0), block(second, text=0)])[1]
    assert left.positions.tolist() == [[1]]
    assert left.embeddings.tolist() == block(second, text=0).embeddings[1:2].tolist()


def test_a_block_laid_out_otherwise_is_whole_and_a_longer_time_is_no_other_layout():
    features = torch.ones(4, 3)
    shapes = [block(features, text=1), block(features, text=2), block(features[:3], text=2)]
    wide = block(features[:3], text=2, axes=3)
    assert num_visual(TokenDropper(0.9).drop([*shapes, wide, wide])) == [4, 0, 3, 3, 0]


def test_what_is_not_a_number_is_kept():
    bad = block([[math.nan, 1.0], [0.0, 1.0]])
    assert num_visual(TokenDropper(0.9).drop([block(torch.ones(2, 2)), bad, bad])) == [2, 2, 1]


def test_after_forgetting_a_block_is_whole():
    dropper, still = TokenDropper(0.9), block(torch.ones(4, 3))
    assert num_visual(dropper.drop([still, still])) == [4, 0]
    dropper.forget()
    assert num_visual(dropper.drop([still, still])) == [4, 0]


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """The same tiny model twice: behind the hook, and as transformers made it."""
    return tiny_video_llm(request.param)


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


def still_frames(model, blocks, start=0):
    """One picture, a second apart."""
    pixels = stream_frames(1)[0].pixels
    first, end = (n * model.family.frames_per_block for n in (start, start + blocks))
    return [Frame(pixels, float(n), 1_700_000_000.0 + n) for n in range(first, end)]


def street_frames(model, blocks, start=0):
    """A still street where every two blocks something stands elsewhere."""
    frames = still_frames(model, blocks, start)
    passing = []
    for frame in frames:
        number = int(frame.stream_s) // (2 * model.family.frames_per_block)
        pixels, left = frame.pixels.copy(), number * 9 % 48
        pixels[8:24, left : left + 16] = np.random.default_rng(number).integers(0, 256, (16, 16, 3))
        passing.append(Frame(pixels, frame.stream_s, frame.captured_at))
    return passing


def partly_still_blocks(model, count):
    """The model's own blocks, in which about half of the visual tokens repeat the last block's."""
    size = model.family.frames_per_block
    frames = stream_frames(count * size)
    blocks = model.family.encode([frames[i * size : (i + 1) * size] for i in range(count)])
    random = torch.Generator().manual_seed(0)
    for last, new in pairwise(blocks):
        visual = new.embeddings[new.is_visual]
        repeated = torch.rand(len(visual), 1, generator=random) < 0.5
        new.embeddings[new.is_visual] = torch.where(
            repeated, last.embeddings[last.is_visual], visual
        )
    return blocks


def token_counts(session):
    return [session.memory.info(i).num_tokens for i in range(session.memory.num_blocks)]


def test_a_still_camera_leaves_times_alone_and_fewer_bytes(pair):
    model, _ = pair
    frames = still_frames(model, 4)
    size = model.family.frames_per_block
    whole = model.family.encode([frames[i * size : (i + 1) * size] for i in range(4)])
    times = [int((~block.is_visual).sum()) for block in whole]
    off = open_tiny_session(model, **{**QUICK, "recent_frames": 8})
    on = open_tiny_session(model, drop_similarity=STILL, **{**QUICK, "recent_frames": 8})
    off.push(frames)
    on.push(frames)
    assert token_counts(off) == [len(block.embeddings) for block in whole]
    assert token_counts(on) == [len(whole[0].embeddings), *(max(1, n) for n in times[1:])]
    assert on.memory.stats().bytes_by_tier["host"] < off.memory.stats().bytes_by_tier["host"]
    assert on.token_dropper.num_visual == sum(num_visual(whole))
    assert on.token_dropper.num_dropped == sum(token_counts(off)) - sum(token_counts(on))


def test_every_recent_window_holds_one_whole_block(pair):
    model, _ = pair
    off = open_tiny_session(model, **QUICK)
    on = open_tiny_session(model, drop_similarity=STILL, **QUICK)
    for session in (off, on):
        session.push(still_frames(model, BLOCKS))
    is_whole = [a == b for a, b in zip(token_counts(on), token_counts(off), strict=True)]
    assert is_whole == [number % on.policy.recent_blocks() == 0 for number in range(BLOCKS)]


def test_what_was_forgotten_leaves_nothing_out_of_what_comes(pair):
    model, _ = pair
    off = open_tiny_session(model, **QUICK)
    on = open_tiny_session(model, drop_similarity=STILL, **QUICK)
    frames = still_frames(model, BLOCKS)
    size = model.family.frames_per_block
    for session in (off, on):
        session.push(frames[: 2 * size])
        session.forget(frames[0].stream_s, frames[2 * size - 1].stream_s)
        session.push(frames[2 * size : 4 * size])
    left = [
        [session.memory.info(i).num_tokens for i in session.memory.visible(None)]
        for session in (off, on)
    ]
    (whole, _), (first, second) = left
    assert first == whole > second


def test_a_similarity_of_one_is_bit_by_bit_the_stream_without_dropping(pair):
    model, _ = pair
    off = open_tiny_session(model, **QUICK)
    on = open_tiny_session(model, drop_similarity=1.0, **QUICK)
    for session in (off, on):
        session.push(street_frames(model, BLOCKS))
    assert off.token_dropper is None
    assert on.token_dropper.num_dropped == 0
    assert torch.equal(all_logits(on, "what?"), all_logits(off, "what?"))


@pytest.mark.parametrize(("size", "stride", "chunk"), [(0, 1, 8), (4, 2, 3), (5, 5, 1)])
@torch.inference_mode()
def test_streaming_equals_one_plain_forward_over_the_tokens_kept(pair, size, stride, chunk):
    model, plain = pair
    dropper = TokenDropper(STILL, whole_every=7)
    blocks = dropper.drop(partly_still_blocks(model, BLOCKS))
    assert 0.2 < dropper.num_dropped / dropper.num_visual < 0.8
    window = LocalWindow(size, stride)
    stream = Prefill(model.decoder, model.family.prefix(), window)
    ours, done = [], 0
    while done < BLOCKS:
        end = done + min(chunk, stream.longest_chunk())
        kv, hidden = stream.encode(blocks[done:end])
        assert [k[0][0].shape[1] for k in kv] == [len(b.embeddings) for b in blocks[done:end]]
        ours.append(model.decoder.logits(hidden))
        done += len(kv)
    edges = [window.left_edge(n) for n in range(BLOCKS)]
    theirs = offline_logits(plain, model.family.prefix(), blocks, left_edges=edges)
    assert float((torch.cat(ours) - theirs).abs().max()) <= TOLERANCE


@torch.inference_mode()
def test_an_answer_over_everything_equals_one_plain_forward_over_the_tokens_kept(pair):
    model, plain = pair
    session = open_tiny_session(
        model,
        drop_similarity=STILL,
        window_frames=0,
        retrieve_blocks=100,
        recent_frames=8,
        codec="exact",
    )
    frames, size = street_frames(model, BLOCKS), model.family.frames_per_block
    session.push(frames)
    assert session.token_dropper.num_dropped > 0
    whole = model.family.encode([frames[i * size : (i + 1) * size] for i in range(BLOCKS)])
    blocks = TokenDropper(STILL, session.policy.recent_blocks()).drop(whole)
    assert token_counts(session) == [len(block.embeddings) for block in blocks]
    question = model.family.question("what is on the table?")
    view = view_at(session.memory, None, session.policy.recent_blocks())
    ours = session.questions.run(question, view).logits
    theirs = offline_logits(plain, model.family.prefix(), blocks, question)
    assert float((ours - theirs[-len(ours) :]).abs().max()) <= TOLERANCE


@pytest.mark.parametrize("codec", ["exact", "int8", "int4", "bf16"])
def test_a_reloaded_memory_answers_like_the_kept_one(pair, codec, tmp_path):
    model, _ = pair
    options = {"codec": codec, "max_answer_tokens": 4, "drop_similarity": STILL, **QUICK}
    with open_tiny_session(model, store=f"file://{tmp_path}", **options) as kept:
        kept.push(street_frames(model, BLOCKS))
        expected = answer_of(kept, "what?")
    with open_tiny_session(model, store=f"file://{tmp_path}", **options) as reloaded:
        assert reloaded.token_dropper.num_visual == 0
        assert answer_of(reloaded, "what?") == expected


def test_a_stream_goes_on_after_a_restart_with_a_whole_block(pair, tmp_path):
    model, _ = pair
    options = {"codec": "exact", "drop_similarity": STILL, **QUICK}
    with open_tiny_session(model, store=f"file://{tmp_path}", **options) as first:
        first.push(street_frames(model, 7))
    never_stopped = open_tiny_session(model, **options)
    never_stopped.push(street_frames(model, 7))
    never_stopped.token_dropper.forget()
    never_stopped.push(street_frames(model, 5, start=7))
    with open_tiny_session(model, store=f"file://{tmp_path}", **options) as second:
        second.push(street_frames(model, 5, start=7))
        assert token_counts(second) == token_counts(never_stopped)
        assert token_counts(second)[7] > min(token_counts(second)[8:])
        difference = all_logits(second, "what?") - all_logits(never_stopped, "what?")
        assert float(difference.abs().max()) <= TOLERANCE


@pytest.fixture(scope="module")
def pushed_at_once(llama):
    """Tokens of each block, and what is said of the street."""
    session = open_tiny_session(llama, codec="exact", drop_similarity=STILL, **QUICK)
    session.push(street_frames(llama, BLOCKS))
    return token_counts(session), all_logits(session, "what?")


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 5), max_size=6), chunk_frames=st.integers(1, 8))
def test_an_answer_does_not_depend_on_how_frames_were_pushed(
    llama, pushed_at_once, cuts, chunk_frames
):
    counts, logits = pushed_at_once
    options = {"codec": "exact", "drop_similarity": STILL, **QUICK}
    pieces = open_tiny_session(llama, chunk_frames=chunk_frames, **options)
    frames, done = street_frames(llama, BLOCKS), 0
    for cut in [*cuts, BLOCKS]:
        done += pieces.push(frames[done : done + cut])
    assert token_counts(pieces) == counts
    difference = all_logits(pieces, "what?") - logits
    assert float(difference.abs().max()) <= TOLERANCE


def test_later_frames_never_change_an_earlier_answer(pair):
    model, _ = pair
    session = open_tiny_session(model, drop_similarity=STILL, **QUICK)
    session.push(street_frames(model, 7))
    at_s = session.memory.info(6).end_s
    before = all_logits(session, "what?", at_s)
    session.push(street_frames(model, 5, start=7))
    assert torch.equal(all_logits(session, "what?", at_s), before)


def test_after_a_push_that_failed_a_block_is_whole(llama, monkeypatch):
    session = open_tiny_session(llama, drop_similarity=STILL, **QUICK)
    session.push(still_frames(llama, 2))

    def full(_):
        raise StoreError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(session.memory, "take", full)
        with pytest.raises(StoreError, match="disk full"):
            session.push(still_frames(llama, 1, start=2))
    session.push(still_frames(llama, 2, start=2))
    assert token_counts(session) == [5, 1, 5, 1]


def test_rekv_mode_refuses_to_drop(llama):
    with pytest.raises(PolicyError, match="drop_similarity"):
        open_tiny_session(llama, policy="rekv", window_tokens=40, drop_similarity=0.9)


@pytest.mark.parametrize("similarity", ["0", "1.5", "-0.1", "nan"])
def test_a_similarity_that_is_none_is_refused(similarity, monkeypatch):
    monkeypatch.setenv("VSTREAM_POLICY_SET__DROP_SIMILARITY", similarity)
    with pytest.raises(SettingsError, match=r"policy_set.*drop_similarity"):
        load_config()


def test_blocks_made_with_another_similarity_are_refused(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("VSTREAM_MEMORY__STORE", f"file://{tmp_path}")
    with open_session(load_config(), llama, "camera") as off:
        off.push(stream_frames(1))
    assert "drop" not in (tmp_path / "camera" / "stream.json").read_text()
    monkeypatch.setenv("VSTREAM_POLICY_SET__DROP_SIMILARITY", "0.9")
    with pytest.raises(FingerprintMismatchError, match=r"drop=0\.9"):
        open_session(VStreamConfig(), llama, "camera")
