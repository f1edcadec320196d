"""The memory policy `moments`: what stays of an old block, how it is found, and what ages first."""

from dataclasses import replace

import pytest
import torch
from engine import all_logits, answer_of, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import CPU, HEAD_DIM, KV_HEADS, LAYERS, kv_block

from memory import (
    MemoryConfig,
    ModelShape,
    StoreError,
    follow_memory,
    open_memory,
    policy_named,
)
from memory.ageing import next_step, redundant, run_ends
from memory.block_store import Span
from vstream.engine.positions import Rope
from vstream.question import Question

SMALL = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
ASKED = "what did you see?"


def moments(rotate=lambda keys, positions: keys, **told):
    return policy_named("moments", ModelShape(rotate=rotate), told)


@pytest.fixture(scope="module", params=["llama", "qwen2_5_vl"])
def model(request):
    return tiny_video_llm(request.param)[0]


def opened(model, policy="moments", codec="exact", **options):
    return open_session(model, codec=codec, policy=policy, max_answer_tokens=4, **SMALL, **options)


def frames(model, count, start=0):
    size = model.family.frames_per_block
    return stream_frames(size * count, start=size * start)


@given(tokens=st.integers(1, 20), num_kept=st.integers(1, 24), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_each_head_keeps_the_tokens_of_largest_value_norm(tokens, num_kept, seed):
    block = kv_block(tokens=tokens, seed=seed)
    cut = moments(tokens=num_kept).rewrite(block, 0, {})
    if num_kept >= tokens:
        assert cut is block
        return
    norms = block.values.norm(dim=-1)
    best = norms.topk(num_kept).indices.sort().values
    for layer in range(LAYERS):
        for head in range(KV_HEADS):
            kept = block.values[layer, head, best[layer, head]]
            assert torch.equal(cut.values[layer, head], kept)
    assert torch.equal(cut.info.advance, block.info.advance)
    assert cut.info.num_tokens == num_kept


@pytest.mark.parametrize("axes", [1, 3])
@given(base=st.integers(0, 30_000), num_kept=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_a_key_stands_in_a_context_where_it_stood_in_its_block(axes, base, num_kept, seed):
    rope = Rope(1e4 ** -torch.arange(0, 1, 2 / HEAD_DIM), torch.arange(HEAD_DIM // 2) % axes)
    block = kv_block(tokens=6, seed=seed)
    block = replace(block, info=replace(block.info, positions=block.info.positions[:axes]))
    policy = moments(tokens=num_kept, rotate=rope.rotate)
    cut, at = policy.rewrite(block, 0, {}), policy.chosen(block, num_kept)
    for layer in range(LAYERS):
        kept = rope.rotate(cut.keys[layer], cut.info.positions + base)
        whole = rope.rotate(block.keys[layer], block.info.positions + base)
        expected = torch.take_along_dim(whole, at[layer][..., None], dim=1)
        torch.testing.assert_close(kept, expected, rtol=0, atol=2e-2 if base > 1000 else 1e-3)


@given(st.one_of(st.floats(0.001, 0.999), st.integers(1, 300).map(float)), st.integers(1, 300))
def test_so_many_tokens_stay_or_such_a_share(told, tokens):
    kept = moments(tokens=told).num_kept(tokens)
    assert kept == (told if told >= 1 else max(1, round(told * tokens)))


def test_with_all_tokens_it_is_default_bit_by_bit(model):
    """The oracle M >= P: nothing is cut, nothing is encoded again."""
    with (
        opened(model, tokens=10_000, alike=None, old_codec=None, codec="int8") as all_kept,
        opened(model, "default", codec="int8") as plain,
    ):
        for one in (all_kept, plain):
            one.push(frames(model, 40))
        assert all_kept.ask(ASKED).answer.coarser_since is not None
        assert answer_of(all_kept, ASKED) == answer_of(plain, ASKED)
        assert torch.equal(all_logits(all_kept, ASKED), all_logits(plain, ASKED))
        assert rows(all_kept.memory) == rows(plain.memory)
    with opened(model, tokens=1, old_codec=None) as cut, opened(model, "default") as plain:
        for one in (cut, plain):
            one.push(frames(model, 40))
        assert not torch.equal(all_logits(cut, ASKED), all_logits(plain, ASKED))


def rows(memory):
    return [record.rows for record in records(memory)]


def test_what_is_found_does_not_change_while_what_is_read_shrinks(model):
    """With an index in float32; `int2_token` rounds what blocks are found by to int8."""
    with (
        opened(model, tokens=2, old_codec="int4") as cut,
        opened(model, "default") as plain,
    ):
        for one in (cut, plain):
            one.push(frames(model, 49))
        old, num = range(32), 49
        whole = plain.memory.info(0).num_tokens
        assert {cut.memory.info(i).num_tokens for i in old} == {2}
        assert {cut.memory.info(i).num_tokens for i in range(40, num)} == {whole}
        assert {cut.memory._forms[i].codec for i in old} == {"int4"}
        keys = [one.memory.representative_keys(range(num)) for one in (cut, plain)]
        assert torch.equal(*keys)
        query = torch.randn(1, keys[0].shape[-1], generator=torch.Generator().manual_seed(0))
        found = [one.memory.search([0], query, num, 8, "cosine") for one in (cut, plain)]
        assert found[0] == found[1]
        since = cut.ask(ASKED).answer.coarser_since
        assert since == cut.memory.info(32).start_s
        assert cut.ask(ASKED).answer.context_tokens < plain.ask(ASKED).answer.context_tokens
        early = Question(ASKED, cut.memory.info(4).end_s)
        assert cut.ask(early).answer.text is not None


def memory_of(store="memory://", codec="int8", **told):
    rope = Rope(torch.ones(HEAD_DIM // 2), torch.arange(HEAD_DIM // 2) % 3)
    shape = ModelShape(window_frames=4, window_stride=1, recent_frames=4, rotate=rope.rotate)
    config = MemoryConfig(store=store, codec=codec)
    policy = policy_named("moments", shape, told)
    return open_memory(config, "test", "model", LAYERS, KV_HEADS, HEAD_DIM, CPU, policy)


def block(number):
    return kv_block(tokens=12, end_s=float(number), seed=number)


def in_run(number):
    """Seven neighbours look the same."""
    return replace(kv_block(tokens=12, seed=number // 7), info=block(number).info)


@pytest.mark.parametrize("block", [block, in_run], ids=["each unlike", "in runs"])
def test_every_store_every_restart_and_every_process_makes_the_same_bytes(tmp_path, block):
    with memory_of() as whole:
        for i in range(50):
            whole.append(block(i))
        expected = [record.to_bytes() for record in records(whole)]
        old = [i for i in whole.visible(None) if i < 32]
        assert {whole.info(i).num_tokens for i in old} == {4}
    store, start = f"file://{tmp_path}", 0
    for end in (7, 20, 33, 50):
        with memory_of(store) as memory:
            for i in range(start, end):
                memory.append(block(i))
            made, start = [record.to_bytes() for record in records(memory)], end
    assert made == expected
    with follow_memory(MemoryConfig(store=store), "test", CPU) as reader:
        assert reader.visible(None) == whole.visible(None)
        assert reader.coarser_since == whole.coarser_since == 31.5


def test_of_an_old_run_of_alike_blocks_the_first_and_the_last_stay():
    with memory_of() as memory, memory_of(alike=None) as all_stay:
        for i in range(50):
            memory.append(in_run(i))
            all_stay.append(in_run(i))
        # Runs are looked for in blocks that are rewritten together, 16 at a time.
        assert memory.visible(None) == [0, 6, 7, 13, 14, 15, 16, 20, 21, 27, 28, 31, *range(32, 50)]
        assert memory.stats().ageing.thinned == 20
        assert all_stay.visible(None) == list(range(50))


def records(memory):
    return [memory._store.read_record(i) for i in memory.visible(None)]


def test_numbers_that_the_old_codec_cannot_hold_stay_in_their_own():
    with memory_of(codec="exact") as memory:
        for i in range(34):
            made = block(i)
            memory.append(replace(made, values=1e6 * made.values) if i == 3 else made)
        forms = {i: memory._forms[i].codec for i in range(8)}
        assert forms == {i: "exact" if i == 3 else "int2_token" for i in range(8)}
        assert memory.info(3).num_tokens == 4


def test_a_codec_that_is_none_is_refused_before_anything_is_begun():
    with pytest.raises(StoreError, match="no codec is called 'int5'"):
        memory_of(old_codec="int5")


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_first_and_last_of_a_run_of_alike_blocks_outlive_its_inside(data):
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=8))
    axes = torch.eye(len(lengths))
    noise = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    keys = torch.cat([axes[i].repeat(n, 1) for i, n in enumerate(lengths)])
    keys = (keys + 0.05 * torch.rand(keys.shape, generator=noise))[None]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    ends = {at for first, n in zip(starts, lengths, strict=True) for at in (first, first + n - 1)}
    assert run_ends(keys) == ends
    num = sum(lengths)
    num_kept = data.draw(st.integers(1, num))
    gone = set(redundant(keys, num_kept, run_ends(keys)))
    assert len(gone) == num - num_kept
    inside = set(range(num)) - ends
    assert not gone & ends or inside <= gone

    class Blocks:
        def may_get_coarser(self, block_id):
            return False

        def representative_keys(self, block_ids):
            return keys[:, list(block_ids)]

    if num > 1:
        span = Span(0, num, tuple(range(num)))
        kept = set(moments().age([span], Blocks()).kept)
        assert len(kept) == num // 2
        assert ends <= kept or not inside & kept
        assert kept == set(next_step([span], Blocks(), run_ends).kept)


def test_a_run_s_inside_would_not_go_first_by_likeness_alone():
    """So the test above can fail: two ends that are more alike than the blocks of a long run."""
    keys = torch.tensor([[1.0, 0], [1, 0.3], [1, 0], [1, 0.3], [0, 1], [0.001, 1]])[None]
    assert run_ends(keys) == {0, 3, 4, 5}
    assert 4 in redundant(keys, 5)
    assert redundant(keys, 5, run_ends(keys)) in ([1], [2])


def test_a_run_ends_where_it_has_drifted_away_from_its_first():
    turns = torch.arange(9) * 0.2
    keys = torch.stack((turns.cos(), turns.sin()), dim=1)[None]
    assert min(torch.cosine_similarity(keys[:, 1:], keys[:, :-1], dim=2)[0]) > 0.97
    assert run_ends(keys) == {0, 2, 3, 5, 6, 8}


def test_moments_are_retrieved_instead_of_blocks_if_one_wants_that(model):
    with opened(model, tokens=1) as plain, opened(model, tokens=1, retrieve_moments=True) as told:
        for one in (plain, told):
            one.push(frames(model, 40))
        blocks, moments_ = (one.ask(ASKED).retrieved for one in (plain, told))
        for found in moments_:
            assert found == sorted(set(found))
            assert len(found) == SMALL["retrieve_blocks"]
        assert blocks != moments_
        assert told.ask(ASKED).retrieved == moments_
        early = told.ask(Question(ASKED, told.memory.info(4).end_s)).retrieved
        assert all(set(found) <= set(range(4)) for found in early)
