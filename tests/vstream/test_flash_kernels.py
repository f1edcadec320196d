"""Packages with a flash kernel attend as the plain path and are used only if they are faster.

None of them runs without a card: what is called here has their signatures and refuses what they
refuse, and attends by writing the scores out.
"""

import sys
import time
from types import ModuleType

import pytest
import torch

from vstream.engine import flash_kernels
from vstream.engine.attention import causal_attention
from vstream.engine.flash_kernels import FlashKernel, fastest_on, installed_kernels, torch_flash


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


def single_prefill_with_kv_cache(q, k, v, causal=False, kv_layout="NHD", sm_scale=None):
    assert causal
    assert q.is_contiguous()
    if kv_layout == "HND":
        k, v = k.transpose(0, 1), v.transpose(0, 1)
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
    slow, fast = taking(0.02, name="slow"), taking(0, name="fast")
    assert fastest_on([slow, fast], *inputs) == fast
    assert fastest_on([fast, slow], *inputs) == fast


def test_one_that_fails_or_attends_otherwise_is_not_used_however_fast(inputs):
    def broken(*inputs):
        raise RuntimeError("no kernel image is available for execution on the device")

    def aligned_to_the_first_key(queries, keys, values, scale):
        return causal_attention(queries, keys[:, : queries.shape[1]], values[:, :5], scale)

    right = taking(0.02, name="right")
    wrong = FlashKernel("wrong", aligned_to_the_first_key)
    assert fastest_on([right, FlashKernel("broken", broken), wrong], *inputs) == right


def test_the_trial_runs_once_for_heads_of_one_kind(packages, monkeypatch):
    packages("flash_attn")
    monkeypatch.setattr(flash_kernels, "_SAMPLE", (8, 40))
    trials = []
    monkeypatch.setattr(
        flash_kernels, "fastest_on", lambda kernels, *_: trials.append(1) or kernels[1]
    )
    flash_kernels.fastest_kernel.cache_clear()
    kind = (torch.device("cpu"), torch.bfloat16, 4, 2, 8)
    try:
        assert [flash_kernels.fastest_kernel(*kind).name for _ in range(3)] == ["flash-attn 2"] * 3
        assert trials == [1]
    finally:
        flash_kernels.fastest_kernel.cache_clear()
