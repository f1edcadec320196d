"""Experiments run on tiny settings, and their numbers mean what they say."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from encoders import Frame
from eval.experiments import kv_prediction, memory_tokens
from eval.experiments.answers import Compared
from eval.experiments.gist import Gists
from eval.experiments.ingest_cost import Flops, first_layers
from eval.experiments.kv_prediction import Maps, Trial, errors
from eval.experiments.memory_tokens import School, cut_by, train
from eval.memory_benchmark.ablations import MeanMoments
from eval.speed.floors import tower_flops
from eval.stream_benchmark.exam import ExamOptions, draw_exam
from eval.stream_world import WORLD_PX, Renderer
from eval.training.presets import FRAME_TOKENS, PRESETS
from memory import ModelShape
from memory.block_info import BlockInfo
from memory.kv_block import KVBlock
from memory.policies.moments import Moments, MomentsSettings
from vstream import load_config, load_video_llm
from vstream.engine.prefill import LocalWindow, Prefill
from vstream.models.weights import embedded_weights

SMALL = replace(PRESETS["tune"], stream_s=48, questions=8, wordings=1)
SECONDS = 24


@pytest.fixture(scope="module")
def model():
    return load_video_llm(None, "cpu", "float32", 1.0)


@pytest.fixture(scope="module")
def stream():
    return draw_exam(ExamOptions(3, SECONDS, 1, 4))[0]


@pytest.fixture(scope="module")
def trial(model, stream):
    return Trial(load_config(memory={"codec": "exact"}), model, stream)


@pytest.fixture(scope="module")
def school():
    return School(SMALL, 190)


@pytest.fixture(scope="module")
def lessons(school):
    return list(school.lessons(0))


def frames_of(script):
    renderer = Renderer(WORLD_PX)
    return [Frame(renderer.frame(one), float(one.time_s), 0.0) for one in script.moments]


@pytest.mark.parametrize("kind", ["own", "all"])
def test_prediction_from_all_layers_is_exact_and_from_few_is_not(trial, model, kind):
    layers = len(trial.seen.keys)
    same, other = Compared(), Compared()
    whole = Maps.fit([trial.seen], layers, kind)
    assert whole.cost(model.decoder) == 1
    predicted = whole.predict(trial.seen)
    assert torch.equal(predicted.keys, trial.seen.keys)
    trial.take(predicted, same)
    assert same.divergences == [0.0] * len(same.divergences)
    trial.take(Maps.fit([trial.seen], 1, kind).predict(trial.seen), other)
    assert max(other.divergences) > 1e-6


@pytest.mark.parametrize("kind", ["own", "all"])
def test_maps_find_what_is_linear(trial, kind):
    torch.manual_seed(0)
    keys, values = trial.seen.keys.clone(), trial.seen.values.clone()
    heads, _, _, dims = keys.shape[1:]
    turn = torch.randn(heads * dims, heads * dims) / (heads * dims) ** 0.5
    for part in (keys, values):
        rows = part[1].permute(1, 2, 0, 3).flatten(2) @ turn + 1
        part[2] = rows.unflatten(2, (heads, dims)).permute(2, 0, 1, 3)
    linear = replace(trial.seen, keys=keys, values=values)
    predicted = Maps.fit([linear], 2, kind).predict(linear)
    for part in ("keys", "values"):
        of = errors([(linear, predicted)], part)
        assert of[:2] == [0.0, 0.0]
        assert of[2] < 0.02 < of[3]


def test_the_error_of_the_mean_token_is_one(trial):
    mean = trial.seen.keys.mean(dim=(2, 3), keepdim=True).expand_as(trial.seen.keys)
    found = replace(trial.seen, keys=mean)
    assert errors([(trial.seen, found)], "keys") == pytest.approx([1.0] * len(mean))
    assert errors([(trial.seen, found)], "values") == [0.0] * len(mean)


def test_the_first_layers_alone_keep_what_the_whole_model_keeps_of_them(trial, model, stream):
    told = model.family.recommended
    window = LocalWindow(told.window_frames, told.window_stride)
    with first_layers(model.decoder, 2), torch.inference_mode():
        tokens = model.family.encode([[one] for one in frames_of(stream.script)[:8]])
        blocks, _ = Prefill(model.decoder, model.family.prefix(), window).encode(tokens)
    assert {len(one) for one in blocks} == {2}
    for at, block in enumerate(blocks):
        for layer, (keys, values) in enumerate(block):
            torch.testing.assert_close(keys, trial.seen.keys[layer, :, at], rtol=1e-4, atol=1e-4)
            close = trial.seen.values[layer, :, at]
            torch.testing.assert_close(values, close, rtol=1e-4, atol=1e-4)


def test_counted_flops_are_those_that_torch_counts(model, stream):
    config = json.loads((embedded_weights() / "config.json").read_text("utf-8"))
    counted = Flops.of(config, FRAME_TOKENS, seen_tokens=1 + FRAME_TOKENS)
    frame = frames_of(stream.script)[0]
    prefill = Prefill(model.decoder, model.family.prefix(), LocalWindow(16, 8))
    with sdpa_kernel(SDPBackend.MATH), torch.inference_mode():  # whose products it sees
        tower = tower_flops(model.family, [frame])
        tokens = model.family.encode([[frame]])
        with FlopCounterMode(display=False) as counter:
            prefill.encode(tokens)
    assert counted.tower == pytest.approx(tower / 1e9, rel=0.04)
    decoder = counter.get_total_flops()
    assert counted.layers * counted.layer == pytest.approx(decoder / 1e9, rel=0.01)


def test_gists_of_full_length_are_no_compaction(school, lessons):
    for lesson in lessons:
        assert abs(float(school.loss(lambda *block: block, lesson))) < 1e-6
    for kind in (Moments, MeanMoments):
        whole, one = (cut_by(kind, count, school.reader.rope) for count in (FRAME_TOKENS, 1))
        assert abs(school.test(whole, lessons)) < 1e-6 < 1e-3 < school.test(one, lessons)
    gist = school.gist(1, lessons[0].memory)
    assert school.test(gist, lessons) > 1e-3


def test_a_gist_is_of_its_block_alone_and_stands_at_its_end(school, lessons):
    torch.manual_seed(1)
    gist = school.gist(2, lessons[0].memory)
    torch.nn.init.normal_(gist.up, std=0.1)
    keys, values = (
        torch.stack(part)[:, :, 1:].unflatten(2, (-1, FRAME_TOKENS))
        for part in zip(*lessons[0].memory, strict=True)
    )
    together, _ = gist(keys, values)
    policy = Gists(ModelShape(), MomentsSettings(tokens=2))
    positions = torch.arange(FRAME_TOKENS)[None]
    info = BlockInfo(0.0, 0.0, 0.0, positions, torch.tensor([FRAME_TOKENS]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Gists.trained, 2, gist)
        for at in (0, 7):
            block = KVBlock(info, keys[:, :, at], values[:, :, at])
            cut = policy.rewrite(block, at, {})
            torch.testing.assert_close(cut.keys, together[:, :, at], rtol=1e-4, atol=1e-5)
            assert cut.info.positions.tolist() == [[FRAME_TOKENS - 2, FRAME_TOKENS - 1]]
        whole = Gists(ModelShape(), MomentsSettings(tokens=FRAME_TOKENS))
        assert whole.rewrite(block, 0, {}) is block


def test_training_changes_the_memory_tokens_alone_and_for_the_better(school, lessons):
    torch.manual_seed(2)
    before = {name: one.clone() for name, one in school.model.named_parameters()}
    gist = school.gist(1, lessons[0].memory)
    untrained = school.test(gist, lessons)
    train(gist, school, lessons, 8)
    assert school.test(gist, lessons) < 0.9 * untrained
    for name, one in school.model.named_parameters():
        assert torch.equal(one, before[name])


def test_each_runs_on_a_tiny_setting(capsys, monkeypatch):
    monkeypatch.setattr(memory_tokens, "PRESET", SMALL)
    for drawn in ("eval.memory_benchmark.report.curves", "eval.run.report.plots"):
        monkeypatch.setattr(drawn, lambda found: {})
    kv_prediction.measure(3, minutes=0.4, streams=1, questions=4, fitted=1)
    assert "every 4. frame" in capsys.readouterr().out
    memory_tokens.measure(3, taught=2, steps=1, minutes=0.7, streams=1, questions=4)
    assert "gists" in capsys.readouterr().out
