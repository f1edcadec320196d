"""Floors: a model's sizes and a device's rates in, the least time that each step can take out.

A step is bound by what it computes or by what it reads, whichever takes longer:

    ingest, a frame      (tower + decoder) FLOPs / matmul rate
    question             max(decoder FLOPs / matmul rate, weights / move rate) + blocks / host rate
    decode, a token      (weights + keys and values of the context) / move rate

Of the decoder 2 FLOPs are counted for each weight and token, and attention's
4 * layers * heads * head_dim * queries * keys; the tower's FLOPs are counted by torch while it
encodes a frame. Blocks come from host RAM only where there is a card.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from encoders import Family, Frame
from eval.shape_speed.device_rates import DeviceRates
from vstream.engine import Decoder


@dataclass(frozen=True)
class DecoderSizes:
    """Of one decoder: multiplied weights and what a token of context takes."""

    weights: int
    """Without the embeddings of words, which are looked up; the head counts apart."""
    head_weights: int
    attention: int
    """layers * heads * head_dim."""
    kv_numbers: int
    """Keys and values of one token in all layers."""
    number_bytes: int

    @classmethod
    def of(cls, model: nn.Module, decoder: Decoder) -> "DecoderSizes":
        layers: nn.Module = model.get_decoder().layers  # type: ignore[operator]
        head: nn.Module = model.get_output_embeddings()  # type: ignore[operator]
        return cls(
            weights=sum(p.numel() for p in layers.parameters()),
            head_weights=sum(p.numel() for p in head.parameters()),
            attention=decoder.num_layers * decoder.num_heads * decoder.head_dim,
            kv_numbers=2 * decoder.num_layers * decoder.kv_heads * decoder.head_dim,
            number_bytes=decoder.dtype.itemsize,
        )

    def flops(self, tokens: int, keys: float) -> float:
        """Of a pass of `tokens`, each of which sees `keys`."""
        return 2.0 * self.weights * tokens + 4.0 * self.attention * tokens * keys

    def context_bytes(self, tokens: int) -> int:
        return self.kv_numbers * self.number_bytes * tokens


@dataclass(frozen=True)
class Floors:
    """The least times on one device."""

    rates: DeviceRates
    sizes: DecoderSizes

    def ingest_s(self, tower_flops: float, frame_tokens: float, seen_tokens: float) -> float:
        """One frame whose tokens see so many, on average."""
        flops = tower_flops + self.sizes.flops(1, seen_tokens) * frame_tokens
        return flops / (self.rates.matmul_tflop_s * 1e12)

    def question_s(self, tokens: int, context_tokens: int, fetched_bytes: int) -> float:
        """To the first token of an answer."""
        compute_s = self.sizes.flops(tokens, context_tokens) / (self.rates.matmul_tflop_s * 1e12)
        host_gb_s = self.rates.host_gb_s
        fetch_s = 0.0 if host_gb_s is None else fetched_bytes / (host_gb_s * 1e9)
        return max(compute_s, self._read_s(self.sizes.weights + self.sizes.head_weights)) + fetch_s

    def decode_s(self, context_tokens: int) -> float:
        """One token."""
        weights = self.sizes.weights + self.sizes.head_weights
        return self._read_s(weights + self.sizes.kv_numbers * context_tokens)

    def _read_s(self, numbers: int) -> float:
        return numbers * self.sizes.number_bytes / (self.rates.move_gb_s * 1e9)


@torch.inference_mode()
def tower_flops(family: Family, frames: Sequence[Frame]) -> float:
    """Of the tower, a frame: one block of `frames`."""
    with FlopCounterMode(display=False) as counter:
        family.encode([frames])
    return float(counter.get_total_flops()) / len(frames)
