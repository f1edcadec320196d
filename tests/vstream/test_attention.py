"""The kernels of a card and the plain path attend alike; told apart here where both can run."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vstream.engine.cuda.flash_kernels import torch_flash
from vstream.engine.decoder import causal_attention


@given(
    group=st.sampled_from([1, 2, 7]),
    kv_heads=st.integers(1, 3),
    q_tokens=st.integers(1, 9),
    before=st.integers(0, 20),
    seed=st.integers(0, 1000),
)
def test_a_flash_kernel_is_told_what_the_mask_says(group, kv_heads, q_tokens, before, seed):
    torch.manual_seed(seed)
    queries = torch.randn(group * kv_heads, q_tokens, 8)
    keys, values = (torch.randn(kv_heads, before + q_tokens, 8) for _ in range(2))
    plain = causal_attention(queries, keys, values, 0.3)
    assert plain.shape == queries.shape
    fast = torch_flash(queries, keys, values, 0.3)
    assert torch.allclose(fast, plain, atol=1e-6)


def test_the_last_query_sees_the_last_key_and_the_first_does_not():
    keys = torch.zeros(1, 4, 2)
    values = torch.eye(4)[None]
    for attend in (causal_attention, torch_flash):
        seen = attend(torch.ones(1, 3, 2), keys, values, 1.0)[0]
        assert seen[0].tolist() == pytest.approx([0.5, 0.5, 0, 0])
        assert seen[2].tolist() == pytest.approx([0.25] * 4)
