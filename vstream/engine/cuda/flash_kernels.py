"""Flash kernels: causal attention without a mask, from torch or from an installed package.

torch has one from FlashAttention-2 (https://arxiv.org/abs/2307.08691). FlashAttention's own package
(https://arxiv.org/abs/2407.08608 on Hopper) and FlashInfer (https://arxiv.org/abs/2501.01005) may
have a faster one for a GPU. A trial finds out once, when a model is loaded; a package that fails
it, or gives other results, is not used. With all of them the last query sees the last key.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import inf
from typing import Any

import structlog
import torch
from torch import Tensor
from torch.nn import functional as F

from vstream.engine.decoder import CausalAttention, causal_attention

_log = structlog.get_logger()

_SAMPLES = ((9, 9), (40, 1000), (1568, 14_568))
"""Queries and keys of a trial. The last pair, on which kernels are timed, is a chunk of eight
frames behind a window of 13,000 tokens.
"""
_NUM_ROUNDS = 20
"""Each round times every kernel once; the fastest time counts, as others may use the GPU."""
_PEAKED = 4.0
"""Standard deviation of a trial's scores: few keys get all the weight, and one too many shows."""
_TOLERANCE = 0.05
"""The most by which two kernels' outputs may differ in bfloat16, for values of about 1."""


@dataclass(frozen=True)
class FlashKernel:
    name: str
    attend: CausalAttention


def flash_attention(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Compute `causal_attention`, without a mask where the GPU has a flash kernel."""
    if queries.shape[1] == 1 or not _has_flash(queries):
        return causal_attention(queries, keys, values, scale)
    kernel = fastest_kernel(
        queries.device, queries.dtype, len(queries), len(keys), queries.shape[2]
    )
    return kernel.attend(queries, keys, values, scale)


def _has_flash(queries: Tensor) -> bool:
    """In half precision, from Ampere on. Others would expand the keys for grouped queries."""
    is_half = queries.dtype in (torch.float16, torch.bfloat16)
    return queries.is_cuda and is_half and torch.cuda.get_device_capability(queries.device) >= (8,)


def torch_flash(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    """Run torch's kernel on a GPU in half precision; elsewhere torch makes a mask itself. Without
    this bias torch aligns causality to the first key.
    """
    from torch.nn.attention.bias import causal_lower_right  # takes seconds: only on a GPU

    return F.scaled_dot_product_attention(
        queries[None],
        keys[None],
        values[None],
        attn_mask=causal_lower_right(queries.shape[1], keys.shape[1]),
        scale=scale,
        enable_gqa=len(queries) != len(keys),
    )[0]


def installed_kernels() -> list[FlashKernel]:
    """Return torch's kernel, then those of the packages that can be imported."""
    found = [FlashKernel("torch", torch_flash)]
    for name, module, function, kernel_of in _PACKAGES:
        try:
            attend = getattr(import_module(module), function, None)
        except ImportError:
            continue
        except Exception:  # noqa: BLE001  a package for another GPU or another torch
            _log.warning("an attention package cannot be used", package=name, exc_info=True)
            continue
        if attend is not None:  # the package's folder may hold only another package
            found.append(FlashKernel(name, kernel_of(attend)))
    return found


def _flash_attention_of(attend: Callable[..., Any]) -> CausalAttention:
    """Its layout is [batch, tokens, heads, head_dim]; some versions return the log-sum-exp too."""

    def kernel(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        by_token = [one.transpose(0, 1)[None] for one in (queries, keys, values)]
        with torch.cuda.device_of(queries):
            result = attend(*by_token, softmax_scale=scale, causal=True)
        output: Tensor = result[0] if isinstance(result, tuple) else result
        return output[0].transpose(0, 1)

    return kernel


def _flashinfer_of(attend: Callable[..., Any]) -> CausalAttention:
    """Its layout is [tokens, heads, head_dim]; with the other its Hopper kernel reads wrongly."""

    def kernel(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
        by_token = [one.transpose(0, 1) for one in (queries, keys, values)]
        by_token[0] = by_token[0].contiguous()
        with torch.cuda.device_of(queries):
            output: Tensor = attend(*by_token, causal=True, sm_scale=scale)
        return output.transpose(0, 1)

    return kernel


_PACKAGES: tuple[tuple[str, str, str, Callable[[Callable[..., Any]], CausalAttention]], ...] = (
    ("flash-attn 4", "flash_attn.cute", "flash_attn_func", _flash_attention_of),
    ("flash-attn 3", "flash_attn_interface", "flash_attn_func", _flash_attention_of),
    ("flash-attn 2", "flash_attn", "flash_attn_func", _flash_attention_of),
    ("FlashInfer", "flashinfer", "single_prefill_with_kv_cache", _flashinfer_of),
)


@cache
def fastest_kernel(
    device: torch.device, dtype: torch.dtype, heads: int, kv_heads: int, head_dim: int
) -> FlashKernel:
    """Return the fastest installed kernel for such heads. The first call runs a trial."""
    kernels = installed_kernels()
    if len(kernels) == 1:
        return kernels[0]
    chance = torch.Generator(device).manual_seed(0)

    def sample(heads: int, tokens: int, room: int) -> Tensor:
        """Make one as decoders do: the start of a buffer whose rest may be anything."""
        shape = (heads, tokens + room, head_dim)
        buffer = torch.randn(*shape, generator=chance, device=device, dtype=dtype)
        buffer[:, tokens:] = torch.nan
        return buffer[:, :tokens]

    samples = [
        (sample(heads, q_tokens, 0), sample(kv_heads, k_tokens, 64), sample(kv_heads, k_tokens, 64))
        for q_tokens, k_tokens in _SAMPLES
    ]
    queries, keys, values = samples[0]
    by_token = values.transpose(0, 1).contiguous().transpose(0, 1)
    samples.insert(0, (queries, keys, by_token))
    chosen = fastest_on(kernels, samples, _PEAKED * head_dim**-0.5)
    _log.info("flash kernel chosen", kernel=chosen.name, heads=heads, kv_heads=kv_heads)
    return chosen


def fastest_on(
    kernels: Sequence[FlashKernel], samples: Sequence[tuple[Tensor, Tensor, Tensor]], scale: float
) -> FlashKernel:
    """Return the kernel that is fastest on the last of `samples`, of those right on all."""
    first, *others = kernels
    wanted = [first.attend(*sample, scale) for sample in samples]
    seconds = {first: inf}
    for kernel in others:
        try:
            for sample, output in zip(samples, wanted, strict=True):
                found = kernel.attend(*sample, scale)
                torch.testing.assert_close(found, output, atol=_TOLERANCE, rtol=_TOLERANCE)
            seconds[kernel] = inf
        except Exception:  # noqa: BLE001  whatever is wrong with a package, torch has a kernel
            _log.warning("an attention package is not used", package=kernel.name, exc_info=True)
    for _ in range(_NUM_ROUNDS):
        for kernel in seconds:
            seconds[kernel] = min(seconds[kernel], _seconds(kernel, *samples[-1], scale))
    return min(seconds, key=lambda kernel: seconds[kernel])


def _seconds(
    kernel: FlashKernel, queries: Tensor, keys: Tensor, values: Tensor, scale: float
) -> float:
    """Time one call. It waits only for the GPU's current stream: another thread may be recording a
    graph on the GPU and must not be disturbed.
    """
    began = time.perf_counter()
    with torch.cuda.device_of(queries):
        kernel.attend(queries, keys, values, scale)
        if queries.is_cuda:
            torch.cuda.current_stream().synchronize()
    return time.perf_counter() - began
