"""Flash-VStream's second memory, CSM and DAM, gives what the official code gives, and keeps its
rule.
"""

import math

import pytest
import torch
from engine import open_session, stream_frames, tiny_video_llm
from flash_blocks import Told, blocks_of
from hypothesis import given, settings
from hypothesis import strategies as st
from official_fixture import cases_of, tensors_of

from memory import ModelShape
from memory.flash.clusters import Clusters
from memory.flash.csm import merged_by_place
from memory.flash.frame_grid import cells, pooled
from memory.flash.notes import Notes
from memory.policies.flash_memory import FlashMemory, FlashMemorySettings
from memory.policy_hooks import NewBlock, Query, changed
from vstream.engine import view_at
from vstream.engine.passes import alone
from vstream.engine.positions import lay_out, text_positions

FIXTURE = "flash_vstream_v2"
TOLD = cases_of(FIXTURE)
TENSORS = tensors_of(FIXTURE)
NEAR = {"rtol": 0, "atol": 1e-4}
PATCHES = 4
"""That the merger makes one token of; until then they are its features, side by side."""


def cases(kind):
    return [
        pytest.param(one, id=one["name"]) for one in TOLD["cases"] if one["name"].startswith(kind)
    ]


def merged(features):
    return features.unflatten(1, (-1, PATCHES)).flatten(2)


def official():
    told = {"csm_grids": TOLD["temporal_length"], "dam_grids": TOLD["spatial_length"]}
    policy = FlashMemory(
        ModelShape(), FlashMemorySettings(rule="official", bank_grids=1000, **told)
    )
    rows, columns = (side // 2 for side in TOLD["low_grid_thw"][1:])
    low = merged(TENSORS["features_low"])
    policy.low = lambda tokens: ((rows, columns), low[int(tokens.end_s)])
    return policy


def official_blocks():
    rows, columns = (side // 2 for side in TOLD["grid_thw"][1:])
    where = cells((rows, columns))
    positions = torch.cat([torch.zeros_like(where[:1]), where])
    return blocks_of(merged(TENSORS["features"]), positions, torch.tensor([1, 0, 0]))


def official_dam(name, before, count):
    """The numbers of the grids that the official code read in detail, of so many cells each."""
    cells = TENSORS["features"].shape[1] // PATCHES
    return (TENSORS[f"{name}.position_ids"][0, before::cells][:count] - before).long().tolist()


def require_as_near(policy, state, found, expected):
    """The same grids. Halfway between two grids, as a cluster of two is, the official code takes
    either, by how a processor rounds: run on another one it contradicts its own outputs.
    """
    clusters = Notes(state).clusters
    heavy = clusters.at(clusters.weights.float().argsort(descending=True)[: len(found)])
    low = merged(TENSORS["features_low"])
    for row, one, other in zip(heavy.rows, found, expected, strict=True):
        assert one == other or (row - low[one]).norm() == pytest.approx((row - low[other]).norm())


def require_placed(context, case, name, expected_dam):
    """Position ids of [text | what is read | text] are the official ones."""
    before = case["text_before"]
    positions, _ = lay_out(before, context.tokens, 3)
    after = text_positions(before + context.text_from, case["text_after"], 3)
    found = torch.cat([positions, after], dim=1)
    moved = torch.tensor(expected_dam) - torch.tensor(context.block_ids)
    moved = moved.repeat_interleave(TENSORS["features"].shape[1] // PATCHES)
    found[0, before : before + len(moved)] += moved
    assert torch.equal(found, TENSORS[f"{name}.position_ids"].long())


@pytest.mark.parametrize("case", cases("csm_"))
def test_csm(case):
    name = case["name"]
    rows = TENSORS[f"{name}.input"]
    ones = torch.ones(len(rows))
    weights, times = (TENSORS.get(f"{name}.input_{one}", ones) for one in ("weights", "times"))
    frames = [Clusters.of_frame(row, at, at, at) for at, row in enumerate(rows)]
    clusters = Clusters.joined(frames)
    vars(clusters).update(weights=weights.double(), times=times.double())
    part = clusters.parted(case["k"], Told(case))
    found = merged_by_place(clusters, case["k"], Told(case))
    torch.testing.assert_close(found.rows, TENSORS[f"{name}.centroids"], **NEAR)
    torch.testing.assert_close(found.weights.float(), TENSORS[f"{name}.weights"], **NEAR)
    torch.testing.assert_close(found.times.float(), TENSORS[f"{name}.timestamps"], **NEAR)
    members = [
        (part.labels == one).nonzero().flatten().tolist() for one in range(len(part.weights))
    ]
    by_time = sorted(members, key=lambda one: sum(one) / len(one))
    assert by_time == case["members"][len(case["members"]) - len(by_time) :]


@pytest.mark.parametrize("case", cases("offline_"))
def test_a_whole_clip(case):
    policy = official()
    policy.choice = lambda block: Told(case)
    state = changed({}, policy.noted(official_blocks()[: case["frames"]], {}))
    context = policy.context(Query("", math.inf), state)
    tokens = torch.cat([one.embeddings for one in context.tokens])
    assert len(tokens) == context.text_from == case["visual_tokens"]
    width = TENSORS["features"].shape[2]
    expected = official_dam(case["name"], case["text_before"], len(context.block_ids))
    require_as_near(policy, state, context.block_ids, expected)
    require_placed(context, case, case["name"], expected)
    frames, cells = merged(TENSORS["features"]), TENSORS["features"].shape[1] // PATCHES
    for place, number in enumerate(expected):
        if number != context.block_ids[place]:
            tokens[place * cells :][:cells] = frames[number]
    tokens = tokens.reshape(-1, width)
    torch.testing.assert_close(tokens, TENSORS[f"{case['name']}.tokens"], **NEAR)


@pytest.mark.parametrize("case", cases("stream_"))
def test_a_stream_by_the_official_rule(case):
    policy, state, blocks = official(), {}, iter(official_blocks())
    checked = 0
    for number, step in enumerate(case["steps"]):
        told = Told(step)
        policy.choice = lambda block, told=told: told
        some = [next(blocks) for _ in range(step["frames"])]
        state = changed(state, policy.noted(some, state))
        name = f"{case['name']}.{number}"
        if f"{name}.csm" not in TENSORS:
            continue
        checked += 1
        clusters = Notes(state).clusters
        csm = clusters.rows.reshape(TENSORS[f"{name}.csm"].shape)
        torch.testing.assert_close(csm, TENSORS[f"{name}.csm"], **NEAR)
        torch.testing.assert_close(clusters.weights.float(), TENSORS[f"{name}.weights"], **NEAR)
        torch.testing.assert_close(clusters.times.float(), TENSORS[f"{name}.timestamps"], **NEAR)
        context = policy.context(Query("", math.inf), state)
        expected = TENSORS[f"{name}.dam_positions"].long().tolist()
        require_as_near(policy, state, context.block_ids, expected)
        require_placed(context, case, name, expected)
    assert checked


@pytest.mark.parametrize("case", cases("temporal_pool"))
def test_half_a_resolution_is_the_mean_of_two_by_two(case):
    """Of pixels here, which stand in the tower's order; the policy does the same with tokens."""
    frames, rows, columns = case["grid_thw"]
    out_rows, out_columns = case["out_grid_thw"][1:]
    pixels = TENSORS["temporal_pool.rows"].shape[1]
    size = math.isqrt(pixels // 6)
    seed = torch.Generator().manual_seed(TOLD["seed"] + 1)
    patches = torch.randn(frames * rows * columns, pixels, generator=seed)
    parts = patches.view(frames, rows // 2, columns // 2, 2, 2, 6, size, size)
    pictures = parts.permute(0, 1, 3, 6, 2, 4, 7, 5).reshape(frames, -1, 6)
    grid, to = (rows * size, columns * size), (out_rows * size, out_columns * size)
    small = torch.stack([pooled(one, grid, to) for one in pictures])
    parts = small.view(frames, out_rows // 2, 2, size, out_columns // 2, 2, size, 6)
    found = parts.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, pixels)
    expected = TENSORS["temporal_pool.rows"]
    torch.testing.assert_close(found[: len(expected)], expected, **NEAR)
    torch.testing.assert_close(found.mean(dim=1), TENSORS["temporal_pool.row_means"], **NEAR)


def by_the_paper(**told):
    settings = {"csm_grids": 4, "dam_grids": 2, "bank_grids": 6, **told}
    return FlashMemory(ModelShape(), FlashMemorySettings(**settings))


def noise(count, seed):
    return torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(seed))


def watched(policy, frames):
    state = {}
    for block in blocks_of(frames):
        state = changed(state, policy.note(block, state))
    return state


counts, seeds = st.integers(1, 24), st.integers(0, 1 << 16)


@settings(max_examples=20)
@given(counts, seeds, st.integers(1, 4))
def test_clusters_weigh_as_many_grids_as_were_seen_in_the_order_of_their_times(count, seed, looks):
    frames = noise(looks, seed)[torch.arange(count) % looks] if looks < 4 else noise(count, seed)
    clusters = Notes(watched(by_the_paper(), frames)).clusters
    assert clusters.weights.sum() == count
    assert (clusters.times.diff() >= 0).all()
    assert ((clusters.first_s <= clusters.times) & (clusters.times <= clusters.last_s)).all()
    weighted = (clusters.weights * clusters.times).sum()
    assert weighted == pytest.approx(sum(range(count)))


@settings(max_examples=20)
@given(counts, seeds)
def test_dam_is_of_the_bank_and_all_of_it_while_there_are_few(count, seed):
    policy, frames = by_the_paper(), noise(count, seed)
    state = watched(policy, frames)
    context, notes = policy.context(Query("", math.inf), state), Notes(state)
    bank = [one.number for one in notes.bank]
    assert len(bank) == min(count, 6)
    assert set(notes.clusters.frames.tolist()) <= set(bank), "each cluster has a frame that stays"
    assert set(context.block_ids) <= set(bank)
    if count <= 2:
        assert context.block_ids == list(range(count))
    for number, shown in zip(context.block_ids, context.tokens, strict=False):
        assert torch.equal(shown.embeddings, frames[number])


@settings(max_examples=20)
@given(st.integers(1, 4), seeds)
def test_as_few_grids_as_there_is_room_for_stay_as_they_are(count, seed):
    frames = noise(count, seed)
    clusters = Notes(watched(by_the_paper(), frames)).clusters
    assert torch.equal(clusters.rows[:, 0], frames.mean(dim=1))


def test_a_day_of_grids_moves_no_text_away():
    """A plain forward pass at the positions of AM-RoPE says the same."""
    model, plain = tiny_video_llm("qwen2_5_vl")
    frames, day = stream_frames(16), 86_400
    told = {"csm_grids": 3, "dam_grids": 1, "bank_grids": 5}
    with open_session(model, policy="flash_memory", **told) as session, torch.inference_mode():
        session.push(frames)
        grids = model.family.encode([frames[at : at + 2] for at in range(0, 16, 2)])
        state = {}
        for number, grid in enumerate(grids, day):
            state = changed(state, session.policy.note(NewBlock(number, grid, {}), state))
        context = session.policy.context(Query("", math.inf), state)
        prefix, text = model.family.prefix(), model.family.question("what did you see?")
        view, count = view_at(session.memory, None, 0), len(text.embeddings)
        work = session.questions.work(text, view, again=context, num_logits=count)
        found = alone(model.decoder, work).logits
        [tokens] = context.tokens
        assert tokens.positions.max() > day
        parts = [prefix.embeddings, tokens.embeddings, text.embeddings]
        positions, _ = lay_out(len(prefix.embeddings), [tokens], 3)
        behind = text_positions(positions.shape[1], count, 3)
        output = plain.get_decoder()(
            inputs_embeds=torch.cat(parts)[None],
            position_ids=torch.cat([positions, behind], dim=1)[:, None],
            use_cache=False,
        )
        expected = plain.get_output_embeddings()(output.last_hidden_state[0, -count:])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
