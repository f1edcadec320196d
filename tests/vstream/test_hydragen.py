"""Attention over parts of the keys is joined as Hydragen's official code joins it."""

import pytest
import torch
from official_fixture import cases_of, tensors_of

from vstream.engine.cuda.partial_attention import PartialAttention, attend_to_part, joined

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def expected():
    return tensors_of("hydragen")


def by_head(tensor):
    """[batch, tokens, heads, dim] as the engine has it."""
    return tensor.transpose(1, 2)


def difference(ours, theirs):
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("case", cases_of("hydragen")["cases"], ids=lambda case: str(case["case"]))
def test_parts_are_joined_as_the_official_code_joins_them(case, expected):
    name, parts = case["case"], []
    for part in range(len(case["parts"])):
        output, lse = (expected[f"{name}.{part}.{one}"] for one in ("out", "lse"))
        parts.append(PartialAttention(by_head(output), by_head(lse[..., None])))
    assert difference(joined(parts), by_head(expected[f"{name}.combined"])) <= TOLERANCE


@pytest.mark.parametrize("case", cases_of("hydragen")["cases"], ids=lambda case: str(case["case"]))
def test_our_parts_are_the_official_ones_and_say_together_what_all_keys_say(case, expected):
    name, parts = case["case"], []
    queries, everything = by_head(expected[f"{name}.queries"]), torch.tensor(True)
    for part in range(len(case["parts"])):
        keys, values = (by_head(expected[f"{name}.{part}.{one}"]) for one in ("keys", "values"))
        parts.append(attend_to_part(queries, keys, values, everything, case["head_dim"] ** -0.5))
        assert difference(parts[-1].output, by_head(expected[f"{name}.{part}.out"])) <= TOLERANCE
        lse = by_head(expected[f"{name}.{part}.lse"][..., None])
        torch.testing.assert_close(parts[-1].lse, lse, rtol=1e-6, atol=TOLERANCE)
    assert difference(joined(parts), by_head(expected[f"{name}.full_attention"])) <= TOLERANCE
