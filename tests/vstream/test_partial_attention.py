"""Attention over parts of the keys, joined, equals attention over all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vstream.engine.cuda.partial_attention import attend_to_part, joined

SCALE = 0.3


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    queries=st.integers(1, 5),
    size=st.sampled_from([1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_parts_say_together_what_all_keys_say(sizes, queries, size, seed):
    torch.manual_seed(seed)
    count = sum(sizes)
    asked, keys = size * torch.randn(2, queries, 8), torch.randn(2, count, 8)
    values = torch.randn(2, count, 6)
    is_seen = torch.rand(queries, count) < 0.5
    is_seen[range(queries), torch.randint(count, (queries,))] = True
    wanted = torch.nn.functional.scaled_dot_product_attention(
        asked, keys, values, attn_mask=is_seen, scale=SCALE
    )
    parts, start = [], 0
    for length in sizes:
        part = slice(start, start + length)
        start += length
        parts.append(attend_to_part(asked, keys[:, part], values[:, part], is_seen[:, part], SCALE))
    torch.testing.assert_close(joined(parts), wanted, rtol=1e-4, atol=1e-5)


def test_who_sees_nothing_of_a_part_is_not_changed_by_it():
    torch.manual_seed(0)
    asked, keys, values = torch.randn(3, 8), torch.randn(4, 8), torch.randn(4, 8)
    everything, nothing = torch.ones(3, 4, dtype=torch.bool), torch.zeros(3, 4, dtype=torch.bool)
    seen = attend_to_part(asked, keys, values, everything, SCALE)
    unseen = attend_to_part(asked, 9 * keys, 9 * values, nothing, SCALE)
    assert torch.equal(unseen.output, torch.zeros(3, 8))
    torch.testing.assert_close(joined([unseen, seen, unseen]), seen.output)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_products_beyond_it_are_none_the_worse(dtype):
    """As large as a bias of the keys makes them, which the softmax then does not care about."""
    torch.manual_seed(0)
    asked, keys = torch.randn(4, 64).to(dtype), torch.randn(9, 64).to(dtype)
    values = torch.randn(9, 64).to(dtype)
    asked[:, 0], keys[:, 0] = 400, 400
    everything = torch.ones(4, 9, dtype=torch.bool)
    found = attend_to_part(asked, keys, values, everything, SCALE).output
    exact = torch.softmax(asked.double() @ keys.double().T * SCALE, -1) @ values.double()
    torch.testing.assert_close(found.double(), exact, rtol=0.02, atol=0.02)
