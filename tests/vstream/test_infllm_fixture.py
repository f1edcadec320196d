"""The official InfLLM code's results, case by case, through the step that the engine runs."""

import pytest
import torch
from infllm_layer import OneLayer, rope_of
from official_fixture import cases_of, tensors_of

FIXTURE = cases_of("infllm")
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def expected():
    return tensors_of("infllm")


@pytest.mark.parametrize("at_once", ["a call", "an exec block"])
@pytest.mark.parametrize("case", FIXTURE["cases"], ids=lambda case: case["name"])
def test_a_layer_reproduces_the_official_run(case, at_once, expected):
    given = [expected[f"{case['name']}.{name}"] for name in ("queries", "keys", "values")]
    kv_heads, head_dim = FIXTURE["kv_heads"], FIXTURE["head_dim"]
    rule, size = (case["n_local"], case["topk"], case["repr"]), case["block"]
    sizes = [size] * (sum(case["calls"]) // size)
    rope = rope_of(head_dim, FIXTURE["rope_base"])
    layer = OneLayer(rope, case["n_init"], rule, sizes, kv_heads, head_dim)
    outputs, start = [], 0
    for call, blocks_after in zip(case["calls"], case["blocks_after_call"], strict=True):
        counts = [min(case["exc"], call - done) for done in range(0, call, case["exc"])]
        for step_counts in [counts] if at_once == "a call" else [[count] for count in counts]:
            part = slice(start, start := start + sum(step_counts))
            outputs.append(layer.push(*(one[:, part] for one in given), step_counts))
        assert layer.memory.num_blocks == blocks_after
    assert layer.retrieved == case["retrieved_by_exc_block"]
    assert layer.memory.num_blocks == case["stored_blocks"]

    def assert_official(ours, name):
        theirs = expected[f"{case['name']}.{name}"]
        torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE)

    assert_official(torch.cat(outputs, dim=1), "output")
    if case["stored_blocks"]:
        ours = layer.memory.head_vectors.vectors(range(case["stored_blocks"]))[0]
        assert_official(ours, "representative_keys")
    not_in_a_block = expected[f"{case['name']}.local_score_left"].shape[1]
    assert_official(layer.looks[:, layer.looks.shape[1] - not_in_a_block :], "local_score_left")
