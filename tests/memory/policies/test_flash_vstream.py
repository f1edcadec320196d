"""Flash-VStream's first memory, STAR, gives what the official code gives, and keeps its rule."""

import math

import pytest
import torch
from flash_blocks import Told, blocks_of
from hypothesis import given, settings
from hypothesis import strategies as st
from official_fixture import cases_of, tensors_of

from memory import ModelShape
from memory.flash.clusters import Clusters
from memory.flash.frame_grid import pooled
from memory.flash.notes import Notes, floats
from memory.flash.star import absorbed, attended, misread_places
from memory.flash.weighted_kmeans import Seeded, weighted_kmeans
from memory.policies.flash_vstream import FlashVStream, FlashVStreamSettings
from memory.policy_hooks import Query, changed

FIXTURE = "flash_vstream_v1"
TOLD = cases_of(FIXTURE)
TENSORS = tensors_of(FIXTURE)
CONFIG = TOLD["config"]
NEAR = {"rtol": 0, "atol": 1e-4}
SLOTS, RATIO = CONFIG["video_Turing_memory_length"], CONFIG["compress_Turing_update_ratio"]


def cases(kind):
    return [
        pytest.param(one, id=one["name"]) for one in TOLD["cases"] if one["name"].startswith(kind)
    ]


def projection(name):
    weight, bias = (
        TENSORS[f"semantic_attention.{name}_proj.{part}"] for part in ("weight", "bias")
    )
    return lambda tokens: torch.nn.functional.linear(tokens, weight, bias)


def attend(memory, new, ratio=RATIO):
    return attended(memory, new, ratio, projection("q"), projection("k"))


def official():
    side = CONFIG["compress_size"]
    assert CONFIG["compress_Turing_memory_size"] == CONFIG["video_current_memory_length"] == 1
    policy = FlashVStream(
        ModelShape(),
        FlashVStreamSettings(
            rule="official",
            temporal_frames=CONFIG["video_long_memory_length"],
            abstract_frames=SLOTS,
            spatial_side=side,
            temporal_side=CONFIG["compress_long_memory_size"],
            update_ratio=RATIO,
            bank_frames=1000,
        ),
    )
    policy.query, policy.key = projection("q"), projection("k")
    return policy


def read(policy, state, at_s=math.inf):
    return [one.embeddings for one in policy.context(Query("", at_s), state).tokens]


@pytest.mark.parametrize(("new", "out"), [("new", "out"), ("new_single", "out_single")])
def test_semantic_attention(new, out):
    found = attend(TENSORS["attention.memory"], TENSORS[f"attention.{new}"])
    torch.testing.assert_close(found, TENSORS[f"attention.{out}"], **NEAR)


@pytest.mark.parametrize("case", cases("kmeans_"))
def test_kmeans(case):
    rows = TENSORS[f"{case['name']}.input"]
    weights = TENSORS.get(f"{case['name']}.input_weights", torch.ones(len(rows)))
    part = weighted_kmeans(rows.flatten(1), weights, len(case["init"]), Told(case))
    torch.testing.assert_close(
        part.centroids.view(-1, *rows.shape[1:]), TENSORS[f"{case['name']}.centroids"], **NEAR
    )
    torch.testing.assert_close(part.weights.float(), TENSORS[f"{case['name']}.weights"], **NEAR)
    members = [
        (part.labels == one).nonzero().flatten().tolist() for one in range(len(part.weights))
    ]
    assert members == case["members"]


@pytest.mark.parametrize("case", cases("offline"))
def test_a_whole_clip(case):
    frames, side = TENSORS["features"], CONFIG["compress_long_memory_size"]
    grid = (CONFIG["compress_size"],) * 2
    before = frames[:-1]
    rows = torch.stack([pooled(one, grid, (side, side)) for one in before])
    clusters = Clusters.joined([Clusters.of_frame(row, at, at, at) for at, row in enumerate(rows)])
    found = clusters.regrouped(clusters.parted(CONFIG["video_long_memory_length"], Told(case)))
    retrieved = frames[misread_places(rows, found.weights, 3)]
    abstract = absorbed(before.mean(dim=1), SLOTS, attend)
    tokens = [abstract, found.rows.flatten(0, 1), retrieved.flatten(0, 1), frames[-1]]
    torch.testing.assert_close(torch.cat(tokens), TENSORS[f"{case['name']}.memory"], **NEAR)


@pytest.mark.parametrize("case", cases("stream_"))
def test_a_stream_by_the_official_rule(case):
    policy, state, blocks = official(), {}, iter(blocks_of(TENSORS["features"]))
    checked = 0
    for number, step in enumerate(case["steps"]):
        told = Told(step)
        policy.choice = lambda block, told=told: told
        some = [next(blocks) for _ in range(step["frames"])]
        state = changed(state, policy.noted(some, state))
        name = f"{case['name']}.{number}"
        if f"{name}.temporal" in TENSORS:
            tokens = read(policy, state)
            abstract, temporal = (len(TENSORS[f"{name}.{one}"]) for one in ("abstract", "temporal"))
            parts = {
                "abstract": tokens[:abstract],
                "temporal": tokens[abstract : abstract + temporal],
                "spatial_and_retrieved": tokens[abstract + temporal :],
            }
            for part, found in parts.items():
                torch.testing.assert_close(torch.stack(found), TENSORS[f"{name}.{part}"], **NEAR)
                checked += 1
    assert checked
    expected = TENSORS[f"{case['name']}.answer_tokens"]
    torch.testing.assert_close(torch.cat(read(policy, state)), expected, **NEAR)


def by_the_paper(**settings):
    told = {"temporal_frames": 4, "abstract_frames": 3, "bank_frames": 6, "spatial_side": 2}
    return FlashVStream(
        ModelShape(), FlashVStreamSettings(**{**told, "temporal_side": 1, **settings})
    )


def watched(policy, frames):
    state = {}
    for block in blocks_of(frames):
        state = changed(state, policy.note(block, state))
    return state


def noise(count, seed):
    return torch.randn(count, 4, 3, generator=torch.Generator().manual_seed(seed))


counts = st.integers(1, 24)
seeds = st.integers(0, 1 << 16)


@settings(max_examples=20)
@given(counts, seeds)
def test_weights_sum_to_the_frames_seen(count, seed):
    clusters = Notes(watched(by_the_paper(), noise(count, seed))).clusters
    assert clusters.weights.sum() == count
    assert len(clusters) <= 4
    assert (clusters.times.diff() >= 0).all()
    frames = noise(count, seed).mean(dim=1)
    weighted = (clusters.weights.float()[:, None] * clusters.rows[:, 0]).sum(dim=0)
    torch.testing.assert_close(weighted, frames.sum(dim=0), rtol=0, atol=1e-4)


@settings(max_examples=20)
@given(st.integers(1, 4), seeds)
def test_as_few_frames_as_there_is_room_for_stay_as_they_are(count, seed):
    frames = noise(count, seed)
    tokens = read(by_the_paper(), watched(by_the_paper(), frames))
    temporal = torch.cat(tokens[min(count, 3) :][:count])
    torch.testing.assert_close(temporal, frames.mean(dim=1), rtol=0, atol=1e-6)


@settings(max_examples=20)
@given(counts, seeds)
def test_the_abstract_memory_of_a_stream_is_that_of_the_whole_clip(count, seed):
    policy, frames = by_the_paper(bank_frames=3), noise(count, seed)
    tokens = read(policy, watched(policy, frames))
    expected = absorbed(
        frames.mean(dim=1), 3, lambda one, new: attended(one, new, 0.2, *[lambda x: x] * 2)
    )
    torch.testing.assert_close(torch.cat(tokens[: min(count, 3)]), expected, rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(counts, seeds)
def test_at_ratio_0_the_abstract_memory_stays(count, seed):
    frames = noise(count, seed)
    policy = by_the_paper(update_ratio=0)
    tokens = read(policy, watched(policy, frames))
    torch.testing.assert_close(torch.cat(tokens[:3])[:count], frames.mean(dim=1)[:3][:count])


@settings(max_examples=20)
@given(st.floats(0, 1), seeds)
def test_with_one_new_frame_each_slot_takes_over_the_same_share(ratio, seed):
    memory, new = noise(1, seed)[0], noise(1, seed + 1)[0, :1]
    torch.testing.assert_close(
        attend_plainly(memory, new, ratio), (1 - ratio) * memory + ratio * new
    )


def attend_plainly(memory, new, ratio):
    return attended(memory, new, ratio, lambda one: one, lambda one: one)


@settings(max_examples=20)
@given(st.integers(2, 12), st.integers(1, 6), seeds)
def test_centroids_of_kmeans_are_a_fixed_point(count, most, seed):
    rows = noise(count, seed).flatten(1)
    weights = torch.arange(1.0, count + 1)
    part = weighted_kmeans(rows, weights, most, Seeded(seed))
    again = weighted_kmeans(part.centroids, part.weights, len(part.centroids), Seeded(seed + 1))
    order = again.labels
    torch.testing.assert_close(again.centroids[order], part.centroids)
    assert torch.equal(again.weights[order], part.weights)
    assert part.weights.sum() == weights.sum()


@settings(max_examples=20)
@given(counts, seeds)
def test_what_is_retrieved_is_in_the_bank_and_nearest_to_a_heavy_cluster(count, seed):
    policy, frames = by_the_paper(), noise(count, seed)
    state = watched(policy, frames)
    shown = policy.context(Query("", math.inf), state).block_ids
    assert shown[0] == count - 1
    assert set(shown) <= set(range(count))
    notes = Notes(state)
    heavy = notes.clusters.weights.argsort(descending=True, stable=True)[:3]
    kept = range(max(0, count - 6), count)
    means = frames.mean(dim=1)[kept.start :]
    far = torch.cdist(notes.clusters.rows[heavy].flatten(1), means)
    found = torch.tensor([kept.index(number) for number in shown[1 : 1 + len(heavy)]])
    torch.testing.assert_close(far.gather(1, found[:, None])[:, 0], far.amin(dim=1))


def test_a_frame_writes_its_own_tokens_and_what_changed():
    policy, frames = by_the_paper(), noise(60, 0)
    state, rows = {}, []
    for block in blocks_of(frames):
        change = policy.note(block, state)
        state = changed(state, change)
        rows.append(sum(name.startswith("row/") for name in change))
        assert sum(name.startswith("frame/") for name in change) == 1
        assert None not in change.values()
    assert sum(rows) / len(rows) < 2.5, "of 4 rows"
    assert len([name for name in state if name.startswith("frame/")]) == 6
    assert all(floats(value).isfinite().all() for name, value in state.items() if "row/" in name)


def test_what_is_forgotten_is_in_nothing_that_stays():
    policy, frames = by_the_paper(), noise(30, 0)
    state = watched(policy, frames)
    after = changed(state, policy.forgotten(state, 27.0, 28.0))
    shown = policy.context(Query("", math.inf), after).block_ids
    assert not {27, 28} & set(shown)
    clusters = Notes(after).clusters
    assert clusters is None or ((clusters.last_s < 27) | (clusters.first_s > 28)).all()
    assert "abstract" not in after
    more = changed(after, policy.note(blocks_of(noise(31, 1))[30], after))
    assert policy.context(Query("", math.inf), more).block_ids[0] == 30
