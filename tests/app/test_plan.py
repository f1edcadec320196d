"""`vstream plan` says within a tenth what is then measured in a store."""

import json
import shlex
from contextlib import closing
from dataclasses import replace

import pytest
import torch
from command_line import vstream
from random_blocks import SHAPES, peak_bytes, random_block, random_memory

from app.held_bytes import model_shape
from app.plan import record_bytes, shape_of, stored_bytes
from app.sample import SAMPLE_VIDEO
from memory import POLICIES, MemoryConfig
from memory.block_info import Provenance
from memory.codecs.codec import CODECS, record_of
from vstream import VStreamConfig, load_video_llm, open_session
from vstream.models.known_models import KNOWN
from vstream.sources.video_file import VideoFile

LAYERS = 4
"""Of the 24 to 36 that large models have: each takes the same room, and the same time to make."""
A_TENTH = pytest.approx(1, abs=0.1)
EMBEDDED = shape_of(None)
ALL = {
    "embedded": EMBEDDED,
    **{name: replace(shape, layers=LAYERS) for name, shape in SHAPES.items()},
}
CODEC_NAMES = CODECS.names()
FLASH_VSTREAM = {"bank_frames": 4, "abstract_frames": 4, "temporal_frames": 3}
BOUNDED = {
    "window": {"frames": 8},
    "streaming_llm": {"frames": 8},
    "last_frames": {},
    "flash_vstream": FLASH_VSTREAM,
    "flash_memory": {"bank_grids": 4, "csm_grids": 3, "dam_grids": 2},
    "goldfish": {"clip_s": 2, "clips": 1, "frames": 4},
}


def dtype_of(name):
    """As the model runs: the embedded on a CPU, the others on a card."""
    return "float32" if name == "embedded" else "bfloat16"


@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("name", ALL)
def test_a_block_is_as_large_in_every_codec_as_it_is_said_to_be(name, codec):
    shape, dtype = ALL[name], dtype_of(name)
    block = random_block(shape, getattr(torch, dtype))
    made_by = Provenance("random", shape.layers, shape.kv_heads, shape.head_dim)
    record = record_of(block, 0, made_by, codec)
    assert record_bytes(shape, codec, dtype) / record.num_bytes == A_TENTH


def planned(shape, policy, settings, dtype, count):
    kind = POLICIES.find(policy)
    made = kind(model_shape(shape), kind.read_settings(settings))
    return made, stored_bytes(made, shape, count * shape.frames, "int8", dtype)


@pytest.mark.parametrize("policy", BOUNDED)
@pytest.mark.parametrize("name", ALL)
def test_a_bounded_policy_keeps_within_what_is_said(name, policy, monkeypatch):
    monkeypatch.setattr("app.plan._PICTURE_BYTES", 0)
    shape, dtype = ALL[name], dtype_of(name)
    kind = POLICIES.find(policy)
    made = kind(model_shape(shape), kind.read_settings(BOUNDED[policy]))
    count = 9 + (made.keep_blocks() or 0) * 9 // 8
    config = MemoryConfig(host_bytes=8 << 30)
    with closing(random_memory(shape, config, made)) as memory:
        peak = peak_bytes(memory, shape, made, getattr(torch, dtype), count)
    said = stored_bytes(made, shape, count * shape.frames, "int8", dtype)
    if policy == "goldfish":  # its texts come from a model
        said -= made.noted_bytes(count * shape.frames, 0, 0)
    assert said / peak == A_TENTH


@pytest.fixture(scope="module")
def frames():
    with VideoFile(str(SAMPLE_VIDEO)) as video:
        return video.frames_at(range(0, 148, 8))


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_the_embedded_model_fills_files_as_it_is_said_to(codec, frames, tmp_path):
    memory = MemoryConfig(store=f"file://{tmp_path}", codec=codec)
    with open_session(VStreamConfig(memory=memory), load_video_llm(None), "door") as session:
        session.push(frames)
    measured = sum(path.stat().st_size for path in tmp_path.rglob("*.vskv"))
    policy = POLICIES.find("default")
    made = policy(model_shape(EMBEDDED), policy.read_settings({}))
    said = stored_bytes(made, EMBEDDED, len(frames), codec, "float32")
    assert said / measured == A_TENTH


def test_the_command_is_one_that_is_taken():
    options = ("--cameras", "3", "--days", "0.5", "--codec", "int4", "--policy", "window")
    run = vstream("plan", *options, "--policy-set", "frames=30", "--fps", "2", "--json")
    assert run.code == 0, run.err
    told = run.document
    assert told["plan"]["frames_per_s"] == 6
    assert told["plan"]["store_bytes"] == 3 * told["plan"]["stream_bytes"]
    name, serve, *flags = shlex.split(told["command"])
    assert (name, serve) == ("vstream", "serve")
    taken = vstream("config", *flags, "--json").document
    assert taken["memory.codec"]["value"] == "int4"
    assert taken["memory.retain_s"]["value"] == 12 * 3600
    assert taken["policy_set"]["value"] == {"frames": "30"}
    assert taken["source.sample_fps"]["value"] == 2


def test_a_budget_of_pictures_is_heeded(monkeypatch):
    without = vstream("plan", "--days", "1", "--json").document["plan"]["stream_bytes"]
    monkeypatch.setenv("VSTREAM_MEMORY__PICTURE_BYTES", "10MB")
    within = vstream("plan", "--days", "1", "--json").document["plan"]["stream_bytes"]
    assert without - within == 86400 * 9000 - 10_000_000


def test_a_budget_of_the_index_moves_it_from_the_card_into_ram(monkeypatch):
    def planned():
        options = "--model", "llava-hf/llava-onevision-qwen2-7b-ov-hf", "--device", "cuda"
        return vstream("plan", "--days", "1", "--json", *options).document["plan"]

    without = planned()
    monkeypatch.setenv("VSTREAM_MEMORY__INDEX_BYTES", "256MiB")
    within = planned()
    assert within["codes_bytes"] == 256 << 20
    moved = without["codes_bytes"] - within["codes_bytes"]
    assert within["index_bytes"] - without["index_bytes"] == moved > 0


def test_what_does_not_fit_is_said():
    large = ("--model", "Qwen/Qwen3-VL-8B-Instruct", "--cameras", "900", "--days", "3000")
    run = vstream("plan", *large, "--device", "cpu")
    assert run.code == 0, run.err
    assert "does not fit: store" in run.out
    assert "does not fit: RAM" in run.out
    assert "--file-bytes" in run.out
    small = vstream("plan", "--days", "0.1")
    assert "everything fits" in small.out


@pytest.mark.parametrize("known", KNOWN, ids=lambda one: one.name)
def test_a_known_model_is_planned_for_without_a_network(known):
    run = vstream("plan", "--model", known.hub_id, "--device", "cuda", "--json")
    assert run.document["plan"]["weight_bytes"] == 2 * known.parameters


def test_a_model_of_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    run = vstream("plan", "--model", tmp_path)
    assert run.code == 1
    assert "the block size of its family is unknown" in run.err
