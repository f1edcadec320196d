"""Floors: the least time that each step can take, from a model's sizes and a device's rates.

A step is bound by what it computes or by what it reads, whichever takes longer:

    ingest, a frame      (tower + decoder) FLOPs / matmul rate
    question             max(decoder FLOPs / matmul rate, weights / move rate) + blocks / host rate
    decode, a token      (weights + keys and values of the context) / move rate

The decoder counts 2 FLOPs per weight and token, and 4 * layers * heads * head_dim * queries * keys
for attention; torch counts the tower's FLOPs while it encodes a frame. Blocks come from host RAM
only if there is a card.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from encoders import Family, Frame
from eval.speed.subject import device_s
from vstream.engine import Decoder

_ROUNDS = 7
_CPU_SIDE, _CPU_BYTES = 2048, 1 << 30
_CARD_SIDE, _CARD_BYTES = 8192, 1 << 28


@dataclass(frozen=True)
class DeviceRates:
    """`copy`: bytes read and written on the device; `host`: from pinned host RAM to a card."""

    matmul_tflop_s: float
    copy_gb_s: float
    read_gb_s: float
    host_gb_s: float | None


def measure_rates(device: torch.device, dtype: torch.dtype) -> DeviceRates:
    """Return medians of a few rounds, at sizes that exceed any cache."""
    is_card = device.type == "cuda"
    side, num_bytes = (_CARD_SIDE, _CARD_BYTES) if is_card else (_CPU_SIDE, _CPU_BYTES)
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    matmul_s = timed_s(lambda: left @ right, device)
    source = torch.ones(num_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    several = 16 if is_card else 1  # starting and waiting are not part of a rate
    copy_s = timed_s(lambda: [target.copy_(source) for _ in range(several)], device) / several
    numbers = source.view(torch.int64)
    read_s = timed_s(lambda: [numbers.sum() for _ in range(several)], device) / several
    host_gb_s = None
    if is_card:
        pinned = torch.ones(2**28, dtype=torch.uint8).pin_memory()
        host_s = timed_s(lambda: target[: len(pinned)].copy_(pinned, non_blocking=True), device)
        host_gb_s = len(pinned) / host_s / 1e9
    return DeviceRates(
        matmul_tflop_s=2 * side**3 / matmul_s / 1e12,
        copy_gb_s=2 * source.numel() / copy_s / 1e9,
        read_gb_s=source.numel() / read_s / 1e9,
        host_gb_s=host_gb_s,
    )


def timed_s(work: Callable[[], object], device: torch.device, rounds: int = _ROUNDS) -> float:
    """Return the median time until the device has finished `work`, not counting the first time."""
    return statistics.median([device_s(work, device) for _ in range(rounds + 1)][1:])


@dataclass(frozen=True)
class Floors:
    """One decoder on one device. `weights` are multiplied in the layers, `head_weights` apart;
    `attention` is layers * heads * head_dim, `kv_numbers` those of one token in all layers.
    """

    rates: DeviceRates
    weights: int
    head_weights: int
    attention: int
    kv_numbers: int
    number_bytes: int

    @classmethod
    def of(cls, rates: DeviceRates, model: nn.Module, decoder: Decoder) -> "Floors":
        layers: nn.Module = model.get_decoder().layers  # type: ignore[operator]
        head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
        return cls(
            rates,
            weights=sum(p.numel() for p in layers.parameters()),
            head_weights=sum(p.numel() for p in head.parameters()),
            attention=decoder.num_layers * decoder.num_heads * decoder.head_dim,
            kv_numbers=2 * decoder.num_layers * decoder.kv_heads * decoder.head_dim,
            number_bytes=decoder.dtype.itemsize,
        )

    def ingest_s(self, tower_flops: float, frame_tokens: float, seen_tokens: float) -> float:
        """Return seconds for one frame whose tokens see `seen_tokens` on average."""
        return self._compute_s(frame_tokens, seen_tokens, tower_flops)

    def question_s(self, tokens: int, context_tokens: int, fetched_bytes: int) -> float:
        """Return seconds to the first token of an answer."""
        host_gb_s = self.rates.host_gb_s
        fetch_s = 0.0 if host_gb_s is None else fetched_bytes / (host_gb_s * 1e9)
        return max(self._compute_s(tokens, context_tokens), self.decode_s(0)) + fetch_s

    def decode_s(self, context_tokens: int) -> float:
        numbers = self.weights + self.head_weights + self.kv_numbers * context_tokens
        # The faster of the two: a CPU reads what it is about to overwrite.
        move_gb_s = max(self.rates.copy_gb_s, self.rates.read_gb_s)
        return numbers * self.number_bytes / (move_gb_s * 1e9)

    def _compute_s(self, tokens: float, keys: float, more_flops: float = 0.0) -> float:
        flops = tokens * (2.0 * self.weights + 4.0 * self.attention * keys)
        return (flops + more_flops) / (self.rates.matmul_tflop_s * 1e12)


@torch.inference_mode()
def tower_flops(family: Family, frames: Sequence[Frame]) -> float:
    """Return the tower's FLOPs per frame, from one block of `frames`."""
    with FlopCounterMode(display=False) as counter:
        family.encode([frames])
    return float(counter.get_total_flops()) / len(frames)
