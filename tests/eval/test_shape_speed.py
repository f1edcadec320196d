"""`python -m eval speed --shape`: a tiny shape measured by the command; the sizes of real ones."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from encoders import Frame
from eval.commands import cli
from eval.random_model import SHAPES, random_family, random_model, random_video_llm
from eval.random_model.shapes import Shape, config_of
from eval.shape_speed.device_rates import DeviceRates
from eval.shape_speed.floors import DecoderSizes, Floors, tower_flops
from eval.speed import made_up_frames

CPU = torch.device("cpu")
PUBLISHED_MILLIONS = {
    "llava-onevision-0.5b": 894,
    "llava-onevision-7b": 8030,
    "qwen2.5-vl-3b": 3755,
    "qwen2.5-vl-7b": 8292,
    "qwen3-vl-8b": 8768,
}
_SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
TINY = Shape(
    "llava_onevision",
    {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 96,
        "vocab_size": 500,
        "max_position_embeddings": 32768,
        **_SIZES,
    },
    {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "image_size": 384,
        "patch_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vision_use_head": False,
    },
)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr("eval.speed._POOL", 32)
    return "tiny"


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_weights_as_the_published_model(name):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config_of(name), dtype=torch.bfloat16)
    weights = sum(one.numel() for one in model.parameters())
    assert round(weights / 1e6) == pytest.approx(PUBLISHED_MILLIONS[name], abs=1)


def test_the_command_ends_with_all_figures_of_a_shape(tiny):
    options = ("--shape", tiny, "--random-weights", "--frames", "96", "--device", "cpu")
    more = ("--askers", "1", "--askers", "4", "--hours", "0.5", "--threads", "1", "--json")
    done = CliRunner().invoke(cli, ["speed", *options, *more])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["shape"] == tiny
    assert found["history_frames"] == 96
    assert found["context_tokens"] > found["window_tokens"] > 0
    assert found["store_bytes_per_frame"] > 0
    for step in ("ingest_frame", "first_token", "decode_token"):
        assert found[step]["ours_s"] >= found[step]["floor_s"] > 0, step
        assert found[step]["plain_s"] >= found[step]["floor_s"], step
    assert {"vision", "prefill", "store"} <= set(found["stages_ms"])
    assert all(rate > 0 for rate in found["askers_tokens_per_s"].values())
    assert set(found["askers_tokens_per_s"]) == {"1", "4"}
    assert found["first_token_s_by_hours"]["0.5"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--shape", "llava"), "unknown shape"), (("--shape", "qwen2.5-vl-3b"), "--random-weights")],
)
def test_what_cannot_be_measured_is_refused(options, said):
    done = CliRunner().invoke(cli, ["speed", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in done.output


def test_floors_follow_the_sizes(tiny):
    model = random_model(tiny, CPU, torch.float32)
    family = random_family(tiny, model)
    frame = next(made_up_frames(1.0))
    assert isinstance(frame, Frame)
    flops = tower_flops(family, [frame])
    llm = random_video_llm(tiny, model, family)
    sizes = DecoderSizes.of(model, llm.decoder)
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 64 + 2 * 32 + 2 * 64  # with biases and norms
    assert sizes.weights == 2 * layer
    assert sizes.head_weights == 500 * 64
    assert sizes.context_bytes(1) == 2 * 2 * 2 * 16 * 4
    patches, width, inner = 16, 32, 48
    linear = 2 * patches * width * (3 * 96 * 96 + 2 * (4 * width + 2 * inner))
    assert flops >= linear
    slow = Floors(DeviceRates(1.0, 1.0, 0.5, 1.0), sizes)
    fast = Floors(DeviceRates(2.0, 1.0, 2.0, 2.0), sizes)
    assert slow.ingest_s(flops, 4, 100) == pytest.approx(2 * fast.ingest_s(flops, 4, 100))
    assert slow.question_s(8, 100, 10**6) == pytest.approx(2 * fast.question_s(8, 100, 10**6))
    assert slow.decode_s(100) == pytest.approx(2 * fast.decode_s(100))
    assert slow.decode_s(200) > slow.decode_s(100)
