"""`python -m eval memory` on a tiny model and streams of 40 seconds."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import kv_block
from service import embedded
from tiny_benchmark import TINY, terse_model

from eval.clustered_error import Mark
from eval.memory_benchmark.ablations import EvenMoments, MeanMoments, SharedMoments
from eval.memory_benchmark.kept_tokens import KeptTokens
from eval.memory_benchmark.play import stored_bytes
from eval.memory_benchmark.run import chosen, run_memory
from eval.run.paired import bootstrap_interval
from eval.run.scored import read_scored
from eval.stream_benchmark.exam import draw_exam
from eval.stream_benchmark.world_video import WorldVideo
from eval.stream_world import WORLD_PX
from memory import ModelShape
from memory.policies import POLICIES
from memory.policies.moments import MomentsSettings
from vstream import SettingsError, load_config

SMALL = "window_frames=6,window_stride=2,recent_frames=3,retrieve_blocks=4"
CUT = f"policy=moments,{SMALL},tokens=1"
OPTIONS = replace(TINY, num_questions=8)


@pytest.fixture(scope="module")
def model():
    return terse_model()


@pytest.fixture
def run(model, monkeypatch):
    """A run over a directory with these contenders, as the command makes it."""
    monkeypatch.setattr("eval.memory_benchmark.run.load_video_llm", lambda *_, **__: model)
    config = load_config(source={"dedup_threshold": 0.0}, threads=1)

    def begin(path, *contenders, num_streams=1):
        options = replace(OPTIONS, num_streams=num_streams)
        return run_memory(options, contenders, config, path)

    return begin


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are what takes long."""
    for drawn in ("eval.memory_benchmark.report.curves", "eval.run.report.plots"):
        monkeypatch.setattr(drawn, lambda found: {})


def moments(kind, num_kept):
    return kind(ModelShape(), MomentsSettings(tokens=num_kept))


@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(1, 16), num_kept=st.integers(1, 16), seed=st.integers(0, 99))
def test_ablations_differ_in_which_tokens_stay_alone(tokens, num_kept, seed):
    block = kv_block(tokens=tokens, seed=seed)
    kinds = EvenMoments, MeanMoments, SharedMoments
    even, mean, own = (moments(kind, num_kept).rewrite(block, 0, {}) for kind in kinds)
    kept = min(num_kept, tokens)
    assert {one.info.num_tokens for one in (even, mean, own)} == {kept}
    assert torch.equal(even.info.positions, mean.info.positions)
    if kept == tokens:
        assert even is mean is block
        return
    parts = torch.arange(tokens) * kept // tokens
    for at in range(kept):
        inside = (parts == at).nonzero()[:, 0]
        expected = block.values[:, :, inside].mean(dim=2)
        torch.testing.assert_close(mean.values[:, :, at], expected, rtol=0, atol=1e-6)
    norms = block.values.norm(dim=-1).mean(dim=1).sum(dim=0)
    best = norms.topk(kept).indices.sort().values
    assert torch.equal(own.keys, block.keys[:, :, best])
    assert torch.equal(own.info.positions, block.info.positions[:, best])


def test_tokens_are_made_once_and_read_as_they_were(model, tmp_path):
    stream = draw_exam(OPTIONS)[0]
    video = WorldVideo(stream.name, stream.script, WORLD_PX)
    before = model.family.num_encoded
    kept = KeptTokens(tmp_path / "tokens", video, model)
    assert kept.num_frames == model.family.num_encoded - before == 40
    again = KeptTokens(tmp_path / "tokens", video, model)
    assert again.cpu_s is None
    read = again.model().family.encode([[frame] for frame in again.frames(0, 40)])
    made = model.family.encode([[frame] for frame in video.frames_at(range(40))])
    for one, other in zip(read, made, strict=True):
        assert torch.equal(one.embeddings, other.embeddings)
        assert (one.start_s, one.end_s) == (other.start_s, other.end_s)
    assert model.family.num_encoded == before + 80, "what is kept does not run the tower"


def test_everything_is_paired_with_everything_kept_and_a_run_goes_on(run, model, tmp_path):
    documents, report = run(tmp_path, CUT, "policy=default")
    reference, *_, same = documents
    [cut] = [name for name in documents if name.startswith("moments")]
    assert (reference, same) == ("default+exact", "default")
    assert documents[reference]["kl"] == {"mean": 0.0, "median": 0.0, "same_first_token": 1.0}
    assert documents[reference]["past"]["difference"] == 0
    assert 0 < documents[same]["kl"]["mean"] < 0.05
    assert sum(documents[cut]["bytes_per_hour"].values()) < documents[cut]["raw"]
    assert documents[cut]["bytes_per_hour"]["codes"] < documents[same]["bytes_per_hour"]["codes"]
    assert documents[cut]["bytes_per_hour"]["index"] < documents[same]["bytes_per_hour"]["index"]
    for title in ("Recall of the evidence by its age", "What is kept", "CPU, ms a frame"):
        assert title in report
    page = (tmp_path / "report.html").read_text()
    assert "Bytes against what answers lose" in page
    scored, encoded = read_scored(tmp_path), model.family.num_encoded
    again, _ = run(tmp_path, "policy=even_moments,tokens=1")
    assert model.family.num_encoded == encoded
    assert list(again)[:-1] == list(documents)
    assert {**again, "even_moments+tokens=1": None} == {**documents, "even_moments+tokens=1": None}
    assert [one for one in read_scored(tmp_path) if "even" not in one.policy] == scored


def test_what_was_interrupted_is_played_again_from_its_stream_on(
    run, undrawn, monkeypatch, tmp_path
):
    begin = partial(run, num_streams=2)
    whole, _ = begin(tmp_path / "whole", CUT)

    def killed(memory):
        if len(list((tmp_path / "killed" / "tokens").iterdir())) == 2:
            raise KeyboardInterrupt
        return stored_bytes(memory)

    with monkeypatch.context() as patched:
        patched.setattr("eval.memory_benchmark.play.stored_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            begin(tmp_path / "killed", CUT)
    assert {one.video for one in read_scored(tmp_path / "killed")} == {"stream0"}
    documents, _ = begin(tmp_path / "killed", CUT)
    for name in whole:
        for one in (whole[name], documents[name]):
            one.pop("cpu_ms")
        assert whole[name] == documents[name]


def test_the_parts_are_all_that_the_store_counts_but_pictures(run, undrawn, monkeypatch, tmp_path):
    found = []

    def counted(memory):
        parts = stored_bytes(memory)
        records = [memory._store.read_record(i) for i in memory.visible(None)]
        rows = sum(len(row) for record in records for row in record.rows)
        assert parts["codes"] + parts["scales"] == rows
        assert not any(record.thumbnail for record in records)
        assert sum(parts.values()) == memory.bytes_by_tier()["file"]
        assert all(part >= 0 for part in parts.values())
        found.append(parts)
        return parts

    monkeypatch.setattr("eval.memory_benchmark.play.stored_bytes", counted)
    run(tmp_path, CUT, "policy=default,codec=bf16")
    assert len(found) == 2 * 3, "at the half and at the end"


def test_a_model_that_knows_drawings_takes_what_it_is_shown_for_them(
    run, undrawn, monkeypatch, tmp_path
):
    monkeypatch.setattr("eval.memory_benchmark.run.load_video_llm", lambda *_, **__: embedded())
    run(tmp_path)
    answers = [one.given for one in read_scored(tmp_path)]
    assert answers
    assert not [text for text in answers if "knows drawings" in text]


def test_a_contender_without_a_memory_is_refused(run, tmp_path):
    with pytest.raises(SettingsError, match="language keeps no memory"):
        run(tmp_path, "policy=language")


def test_every_policy_can_be_named_at_once():
    reference, *others = chosen(["policy=all"])
    assert reference.name == "default+exact"
    assert [one.name for one in others] == POLICIES.names()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=4), max_size=6))
def test_an_interval_is_that_of_draws_of_whole_videos(videos):
    marks = [Mark(str(i), value) for i, video in enumerate(videos) for value in video]
    interval = bootstrap_interval(marks)
    if len(videos) < 2:
        assert interval is None
        return
    means = [100 * sum(video) / len(video) for video in videos]
    low, high = interval
    assert min(means) - 1e-9 <= low <= high <= max(means) + 1e-9
