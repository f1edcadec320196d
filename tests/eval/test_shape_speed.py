"""`python -m eval speed shape`: a tiny shape measured by the command; the sizes of real ones."""

import json
from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from transformers import AutoModelForImageTextToText
from typer.testing import CliRunner

from encoders import Frame
from encoders.chat_prompt import ChatPrompt
from eval.commands import cli
from eval.random_model import (
    SHAPES,
    config_of,
    random_family,
    random_model,
    random_video_llm,
)
from eval.speed.floors import DeviceRates, Floors, tower_flops
from eval.speed.subject import endless_frames
from vstream import Session
from vstream.answer import QueryHandler
from vstream.models.known_models import known_model

CPU = torch.device("cpu")
PUBLISHED_MILLIONS = {
    "llava-onevision-0.5b": 894,
    "llava-onevision-7b": 8030,
    "qwen2.5-vl-3b": 3755,
    "qwen2.5-vl-7b": 8292,
    "qwen3-vl-8b": 8768,
}
_SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
TINY = {
    "family": "llava_onevision",
    "tie_word_embeddings": False,
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 64,
        "intermediate_size": 96,
        "vocab_size": 500,
        "max_position_embeddings": 32768,
        **_SIZES,
    },
    "vision_config": {
        "model_type": "siglip_vision_model",
        "hidden_size": 32,
        "intermediate_size": 48,
        "image_size": 384,
        "patch_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vision_use_head": False,
    },
}


SHAPE = ("shape", "tiny", "--frames", "96", "--askers", "1", "--askers", "2", "--hours", "0.1")
LOAD = ("load", "--shape", "tiny", "--frames", "16", "--seconds", "1")
BESIDE = ("--askers", "2", "--streams", "1")


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(SHAPES, "tiny", TINY)
    monkeypatch.setattr("eval.speed.subject._POOL", 1)
    return "tiny"


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_weights_as_the_published_model(name):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config_of(name), dtype=torch.bfloat16)
    weights = sum(one.numel() for one in model.parameters())
    assert round(weights / 1e6) == pytest.approx(PUBLISHED_MILLIONS[name], abs=1)
    assert weights == known_model(name).parameters


class Asked(NamedTuple):
    """What is known of a question that was put."""

    temperature: float
    question_tokens: int
    answer_tokens: int
    vocabulary_size: int


class Run(NamedTuple):
    """The document of a command about the tiny shape; what was asked and pushed meanwhile."""

    document: dict
    asked: list[Asked]
    sizes: set[tuple[int, ...]]


def run(*arguments):
    """Half of all tokens would end an answer."""
    words = ["speed", *arguments, "--random-weights", "--json"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(SHAPES, "tiny", TINY)
        patched.setattr("eval.speed.subject._CAMERA_POOL", 4)
        patched.setattr("eval.speed.questions.ASKED", 4)
        patched.setattr("eval.speed.floors._CPU_SIDE", 512)
        patched.setattr("eval.speed.floors._CPU_BYTES", 1 << 26)
        read = ChatPrompt._read_stop_ids
        stops = set(range(250))
        patched.setattr(ChatPrompt, "_read_stop_ids", lambda self: read(self) | stops)
        streams, sizes = listen_to_questions(patched), listen_to_frames(patched)
        done = CliRunner().invoke(cli, words, env={"VSTREAM_DEVICE": "cpu", "VSTREAM_THREADS": "1"})
    assert done.exit_code == 0, done.output
    asked = [
        Asked(
            question.decoding.temperature,
            len(family.question(question.text).embeddings),
            len(stream.answer.token_ids),
            family.vocabulary_size,
        )
        for question, family, stream in streams
    ]
    return Run(json.loads(done.stdout.strip().splitlines()[-1]), asked, sizes)


def listen_to_questions(patched):
    """Those that are put from now on, with the family and the answer of each."""
    streams = []
    ask = QueryHandler.ask

    def listen(self, question, retrieved=None):
        stream = ask(self, question, retrieved)
        streams.append((question, self._family, stream))
        return stream

    patched.setattr(QueryHandler, "ask", listen)
    return streams


def listen_to_frames(patched):
    """The sizes of those that are pushed from now on."""
    seen = set()
    for name in ("push", "push_ahead"):
        push = getattr(Session, name)

        def listen(self, frames, push=push):
            seen.update(frame.pixels.shape for frame in frames)
            return push(self, frames)

        patched.setattr(Session, name, listen)
    return seen


@pytest.fixture(scope="module")
def measured():
    return run(*SHAPE)


def test_the_command_ends_with_all_figures_of_a_shape(measured):
    found = measured.document
    (here,) = found["here"]
    assert here["model"] == "tiny, random weights"
    assert here["history_frames"] == 96
    assert here["context_tokens"] > here["window_tokens"] > 0
    assert here["store_bytes_per_frame"] > 0
    *plain, drawn = found["steps"]
    assert [one["step"] for one in plain] == ["ingest a frame", "first token", "decode a token"]
    for step in plain:
        assert step["ours_ms"] >= step["floor_ms"] > 0, step
        assert step["plain_ms"] >= step["floor_ms"], step
    assert drawn["ours_ms"] >= drawn["floor_ms"] > 0
    (stages,) = found["stages of an ingested frame"]
    assert {"vision_ms", "prefill_ms", "store_ms"} <= set(stages)
    assert [row["askers"] for row in found["askers at once"]] == [1, 2]
    for row in found["askers at once"]:
        assert row["tokens_per_s"] > 0 < row["drawn_tokens_per_s"]
    (long_past,) = found["long past"]
    assert long_past["history_h"] == 0.1
    assert long_past["first_token_ms"] > 0


def test_questions_answers_and_frames_are_of_the_stated_sizes(measured):
    (here,) = measured.document["here"]
    asked = measured.asked
    assert {one.question_tokens for one in asked} == {32} == {here["question_tokens"]}
    assert {one.answer_tokens for one in asked} == {32} == {here["answer_tokens"]}
    assert {one.vocabulary_size for one in asked} == {500}, "as many as the shape has"
    assert measured.sizes == {(1080, 1920, 3)}
    assert here["frame_px"] == "1920 x 1080"
    drawn = [one.temperature for one in asked if one.temperature]
    assert set(drawn) == {1.0}
    assert len(drawn) < len(asked) / 2


def test_load_is_measured_with_the_same_questions_and_frames():
    found = run(*LOAD, *BESIDE)
    assert set(found.asked) == {Asked(0.0, 32, 32, 500)}
    assert found.sizes == {(1080, 1920, 3)}


@pytest.mark.parametrize(
    ("options", "said"),
    [(("shape", "llava"), "unknown shape"), (("shape", "qwen2.5-vl-3b"), "--random-weights")],
)
def test_what_cannot_be_measured_is_refused(options, said):
    done = CliRunner().invoke(cli, ["speed", *options], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in done.output


def test_floors_follow_the_sizes(tiny):
    model = random_model(tiny, CPU, torch.float32)
    family = random_family(tiny, model)
    frame = next(endless_frames(1.0))
    assert isinstance(frame, Frame)
    flops = tower_flops(family, [frame])
    llm = random_video_llm(tiny, model, family)
    slow = Floors.of(DeviceRates(1.0, 1.0, 0.5, 1.0), model, llm.decoder)
    layer = 2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96 + 64 + 2 * 32 + 2 * 64  # with biases and norms
    assert slow.weights == 2 * layer
    assert slow.head_weights == 500 * 64
    assert slow.kv_numbers * slow.number_bytes == 2 * 2 * 2 * 16 * 4
    patches, width, inner = 16, 32, 48
    linear = 2 * patches * width * (3 * 96 * 96 + 2 * (4 * width + 2 * inner))
    assert flops >= linear
    fast = replace(slow, rates=DeviceRates(2.0, 1.0, 2.0, 2.0))
    assert slow.ingest_s(flops, 4, 100) == pytest.approx(2 * fast.ingest_s(flops, 4, 100))
    assert slow.question_s(8, 100, 10**6) == pytest.approx(2 * fast.question_s(8, 100, 10**6))
    assert slow.decode_s(100) == pytest.approx(2 * fast.decode_s(100))
    assert slow.decode_s(200) > slow.decode_s(100)
