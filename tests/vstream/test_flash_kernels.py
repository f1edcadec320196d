"""Packages with a flash kernel attend as the plain path and are used only if they are faster.

None of them runs without a card: what is called here has their signatures and refuses what they
refuse, and attends by writing the scores out.
"""

import sys
import time
from types import ModuleType

import pytest
import torch
from torch.nn import functional as F

from vstream.engine.cuda import flash_kernels
from vstream.engine.cuda.flash_kernels import (
    FlashKernel,
    fastest_kernel,
    fastest_on,
    installed_kernels,
    torch_flash,
)
from vstream.engine.decoder import causal_attention, grouped_attention


def written_out(queries, keys, values, scale):
    """Of [tokens, heads, head_dim], aligned to the last key."""
    assert queries.stride(-1) == keys.stride(-1) == 1
    group = queries.shape[1] // keys.shape[1]
    keys, values = (one.repeat_interleave(group, dim=1) for one in (keys, values))
    scores = torch.einsum("qhd,khd->hqk", queries, keys) * scale
    q_tokens, k_tokens = scores.shape[1:]
    is_seen = torch.ones(q_tokens, k_tokens, dtype=torch.bool).tril(k_tokens - q_tokens)
    return torch.einsum(
        "hqk,khd->qhd", scores.masked_fill(~is_seen, -torch.inf).softmax(-1), values
    )


def flash_attn_func(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False):
    assert causal
    assert not dropout_p
    (queries,), (keys,), (values,) = q, k, v
    return written_out(queries, keys, values, softmax_scale)[None]


def flash_attn_func_that_tells_the_sums(q, k, v, softmax_scale=None, causal=False):
    return flash_attn_func(q, k, v, 0.0, softmax_scale, causal), torch.zeros(1)


def single_prefill_with_kv_cache(q, k, v, causal=False, sm_scale=None):
    assert causal
    assert q.is_contiguous()
    return written_out(q, k, v, sm_scale)


PACKAGES = {
    "flash_attn.cute": ("flash_attn_func", flash_attn_func_that_tells_the_sums),
    "flash_attn_interface": ("flash_attn_func", flash_attn_func_that_tells_the_sums),
    "flash_attn": ("flash_attn_func", flash_attn_func),
    "flashinfer": ("single_prefill_with_kv_cache", single_prefill_with_kv_cache),
}


@pytest.fixture
def packages(monkeypatch):
    def install(*names):
        for name in PACKAGES:
            module = None
            if name in names:
                module = ModuleType(name)
                setattr(module, *PACKAGES[name])
            monkeypatch.setitem(sys.modules, name, module)

    return install


@pytest.fixture
def inputs():
    torch.manual_seed(0)
    keys, values = (torch.randn(2, 12, 8) for _ in range(2))
    return torch.randn(6, 5, 8), keys, values, 0.3


def test_every_package_attends_as_the_plain_path(packages, inputs):
    packages(*PACKAGES)
    kernels = installed_kernels()
    assert [one.name for one in kernels] == [
        "torch",
        "flash-attn 4",
        "flash-attn 3",
        "flash-attn 2",
        "FlashInfer",
    ]
    for kernel in kernels:
        torch.testing.assert_close(kernel.attend(*inputs), causal_attention(*inputs))


def test_torch_is_all_there_is_without_a_package(packages):
    packages()
    assert [one.name for one in installed_kernels()] == ["torch"]


def test_a_package_that_lacks_its_function_is_left_alone(packages, monkeypatch):
    packages("flash_attn")
    monkeypatch.delattr(sys.modules["flash_attn"], "flash_attn_func")
    assert [one.name for one in installed_kernels()] == ["torch"]


def taking(seconds, attend=torch_flash, name="other"):
    def slow(*inputs):
        time.sleep(seconds)
        return attend(*inputs)

    return FlashKernel(name, slow)


def test_the_faster_one_is_used(inputs):
    *sample, scale = inputs
    slow, fast = taking(0.02, name="slow"), taking(0, name="fast")
    assert fastest_on([slow, fast], [sample], scale) == fast
    assert fastest_on([fast, slow], [sample], scale) == fast


def broken(*inputs):
    raise RuntimeError("no kernel image is available for execution on the device")


def aligned_to_the_first_key(queries, keys, values, scale):
    group, count = len(queries) // len(keys), queries.shape[1]
    keys, values = (one[:, :count].repeat_interleave(group, dim=0) for one in (keys, values))
    return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scale)


def blind_to_the_newest_key(queries, keys, values, scale):
    """To each query, that is its own."""
    before = causal_attention(queries, keys[:, :-1], values[:, :-1], scale)
    first = torch_flash(queries[:, :1], keys[:, :1], values[:, :1], scale)
    return before if keys.shape[1] > queries.shape[1] else torch.cat([first, before[:, 1:]], dim=1)


def blind_to_strides(queries, keys, values, scale):
    """Reads a buffer as if it were filled to its end."""
    keys, values = (
        one.as_strided(one.shape, (one.shape[1] * one.shape[2], one.shape[2], 1))
        for one in (keys, values)
    )
    return causal_attention(queries, keys, values, scale)


def without_causality(queries, keys, values, scale):
    return grouped_attention(queries, keys, values, scale, None)


@pytest.mark.parametrize(
    ("wrong", "sizes"),
    [
        (broken, (9, 9)),
        (aligned_to_the_first_key, (40, 1000)),
        (blind_to_the_newest_key, (40, 1000)),
        (blind_to_strides, (40, 1000)),
        (without_causality, (9, 9)),
        (without_causality, (40, 1000)),
    ],
)
def test_one_that_fails_or_attends_otherwise_is_not_used_however_fast(monkeypatch, wrong, sizes):
    kernels = [taking(0.2, name="right"), FlashKernel("wrong", wrong)]
    monkeypatch.setattr(flash_kernels, "installed_kernels", lambda: kernels)
    monkeypatch.setattr(flash_kernels, "_SAMPLES", (sizes,))
    monkeypatch.setattr(flash_kernels, "_NUM_ROUNDS", 1)
    assert fastest_kernel(torch.device("cpu"), torch.bfloat16, 28, 4, 32).name == "right"


def test_the_trial_runs_once_for_heads_of_one_kind(packages, monkeypatch):
    packages("flash_attn")
    monkeypatch.setattr(flash_kernels, "_SAMPLES", ((8, 40),))
    trials = []
    monkeypatch.setattr(
        flash_kernels, "fastest_on", lambda kernels, *_: trials.append(1) or kernels[1]
    )
    kind = (torch.device("cpu"), torch.bfloat16, 4, 2, 8)
    assert [fastest_kernel(*kind).name for _ in range(3)] == ["flash-attn 2"] * 3
    assert trials == [1]


@pytest.fixture(autouse=True)
def _forgotten():
    fastest_kernel.cache_clear()
    yield
    fastest_kernel.cache_clear()
