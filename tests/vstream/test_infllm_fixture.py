"""The official InfLLM code's results, case by case, through the step that the engine runs."""

import pytest
import torch
from official_fixture import cases_of, tensors_of

from memory import BlockInfo, KVBlock, MemoryConfig, open_memory
from memory.policies.policy import InfllmRule
from vstream.engine.infllm import InfllmStep, InfllmStream
from vstream.engine.positions import Rope

FIXTURE = cases_of("infllm")
HEAD_DIM = FIXTURE["head_dim"]
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def expected():
    return tensors_of("infllm")


def opened_stream(case):
    """A stream of one layer, whose blocks are put into its memory as they leave."""
    memory = open_memory(
        MemoryConfig(codec="exact"),
        stream_id="fixture",
        fingerprint="fixture",
        layers=1,
        kv_heads=FIXTURE["kv_heads"],
        head_dim=HEAD_DIM,
        device=torch.device("cpu"),
    )
    halves = torch.arange(0, HEAD_DIM, 2) / HEAD_DIM
    rope = Rope(FIXTURE["rope_base"] ** -halves, torch.zeros(len(halves), dtype=torch.long))
    rule = InfllmRule(case["n_local"], case["topk"], case["repr"])
    stream = InfllmStream(rope, memory, case["n_init"], rule)
    stream.counts = dict.fromkeys(range(sum(case["calls"])), case["block"])
    return stream


def put(stream, case, left, keys, values):
    """Into the memory, each with its own head vectors."""
    size = case["block"]
    for gone in left:
        for block_id, vectors in gone.items():
            start = case["n_init"] + block_id * size
            part = slice(start, start + size)
            positions = torch.arange(size)[None]
            info = BlockInfo(block_id, block_id, 0.0, positions, torch.tensor([size]))
            of_block = keys[None, :, part], values[None, :, part]
            assert (
                stream.memory.append(KVBlock(info, *of_block, left={block_id: vectors})) == block_id
            )


@pytest.mark.parametrize("at_once", ["a call", "an exec block"])
@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
@torch.inference_mode()
def test_a_layer_reproduces_the_official_run(case, at_once, expected):
    wanted = {name: expected[f"{case['name']}.{name}"] for name in ("queries", "keys", "values")}
    stream, outputs, retrieved, start = opened_stream(case), [], [], 0
    for call, blocks_after in zip(case["calls"], case["blocks_after_call"], strict=True):
        counts = [min(case["exc"], call - done) for done in range(0, call, case["exc"])]
        for step_counts in [counts] if at_once == "a call" else [[count] for count in counts]:
            part = slice(start, start := start + sum(step_counts))
            stream.begin()
            step = InfllmStep(stream, step_counts)
            given = (tensor[:, part] for tensor in wanted.values())
            outputs.append(step.attend(0, *given, HEAD_DIM**-0.5))
            put(stream, case, stream.end(step), wanted["keys"], wanted["values"])
            retrieved += step.retrieved[0]
        assert stream.memory.num_blocks == blocks_after
    assert retrieved == case["retrieved_by_exc_block"]
    assert stream.memory.num_blocks == case["stored_blocks"]

    def assert_official(ours, name):
        theirs = expected[f"{case['name']}.{name}"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)

    assert_official(torch.cat(outputs, dim=1), "output")
    if case["stored_blocks"]:
        ours = stream.memory.head_vectors.vectors(range(case["stored_blocks"]))[0]
        assert_official(ours, "representative_keys")
    looks = stream.windows[0].looks
    not_in_a_block = expected[f"{case['name']}.local_score_left"].shape[1]
    assert_official(looks[:, looks.shape[1] - not_in_a_block :], "local_score_left")
