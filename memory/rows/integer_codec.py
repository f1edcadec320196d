"""IntegerCodec: keys and values in, small unsigned integers with their scales and zeros out.

Source: KIVI (Liu et al., ICML 2024), section 3: keys are quantised along the tokens (each channel
by itself), values along the channels (each token by itself), both asymmetrically. With `levels` =
2^bits - 1 the number x of a group becomes

    code = round((x - zero) / scale + levels / 2),    x' = (code - levels / 2) * scale + zero

Differs from the paper: keys are taken before RoPE, where a channel's large bias is the same for
all tokens and so vanishes in `zero`. `zero` is the middle of the group's range, not its low end, so
its own rounding to float16 costs no more than a slightly larger scale. A group is all tokens of the
block (all dims of the head) unless a largest size is given; then the groups are of equal size.
"""

from math import ceil, prod
from typing import ClassVar

import torch
from torch import Tensor

from memory.codecs.codec import BlockCodec
from memory.errors import BlockRejectedError
from memory.kv_block import EncodedRows, KeysAndValues, OfBlock, RowLayout

_ROW_ALIGN_BYTES = 16
_CPU_SLAB_NUMEL = 1 << 19
"""Numbers dequantised at once on a CPU, where the temporaries should stay in its cache."""


class IntegerCodec(BlockCodec):
    """A row is the scales and zeros of keys and values (float16), then their codes (1 or 1/2 byte).

    Scales in float16 halve what a row spends on them against float32; the error of the attention
    output grows by less than a fiftieth. A block with numbers beyond float16 is refused.
    """

    bits: ClassVar[int]
    max_group_tokens: ClassVar[int | None] = None
    max_group_dims: ClassVar[int | None] = None

    def row_bytes(self, layout: RowLayout) -> int:
        keys, values = self._groups(layout)
        scale_bytes = 4 * (keys.num_scales + values.num_scales)
        unaligned = scale_bytes + self._code_bytes(keys) + self._code_bytes(values)
        return ceil(unaligned / _ROW_ALIGN_BYTES) * _ROW_ALIGN_BYTES

    def encode(self, keys: OfBlock, values: OfBlock) -> EncodedRows:
        layers, kv_heads, tokens, head_dim = keys.shape
        layout = RowLayout(kv_heads, tokens, head_dim, keys.dtype)
        key_groups, value_groups = self._groups(layout)
        key_scales, key_codes = self._quantised(keys, key_groups)
        value_scales, value_codes = self._quantised(values, value_groups)
        scales = torch.cat((key_scales, value_scales), dim=1)
        if not torch.isfinite(scales).all():
            raise BlockRejectedError(
                f"codec {self.name}: keys or values hold inf, nan or numbers beyond float16; if "
                "they are finite use the codec bf16 or exact, otherwise look for the cause in the "
                "model's dtype or weights"
            )
        parts = [scales.view(torch.uint8), key_codes, value_codes]
        padding = self.row_bytes(layout) - sum(part.shape[1] for part in parts)
        return torch.cat((*parts, key_codes.new_zeros(layers, padding)), dim=1)

    def decode(self, rows: EncodedRows, layout: RowLayout, dtype: torch.dtype) -> KeysAndValues:
        blocks = rows.shape[0]
        shape = (layout.kv_heads, blocks, layout.tokens, layout.head_dim)
        keys = torch.empty(shape, dtype=dtype, device=rows.device)
        values = torch.empty_like(keys)
        on_cpu = rows.device.type == "cpu"
        slab = max(1, _CPU_SLAB_NUMEL // layout.numel) if on_cpu else max(1, blocks)
        for first in range(0, blocks, slab):
            part = slice(first, first + slab)
            self._dequantise(rows[part], layout, keys[:, part], values[:, part])
        return keys.flatten(1, 2), values.flatten(1, 2)

    def _groups(self, layout: RowLayout) -> "tuple[_Groups, _Groups]":
        shape = (layout.kv_heads, layout.tokens, layout.head_dim)
        return (
            _Groups(shape, axis=-2, largest=self.max_group_tokens),
            _Groups(shape, axis=-1, largest=self.max_group_dims),
        )

    def _code_bytes(self, groups: "_Groups") -> int:
        return groups.num_codes if self.bits == 8 else ceil(groups.num_codes / 2)

    def _quantised(self, numbers: Tensor, groups: "_Groups") -> tuple[Tensor, Tensor]:
        """Float16 [layers, scales then zeros] and uint8 [layers, code_bytes]."""
        levels = 2**self.bits - 1
        grouped = groups.grouped(numbers.float())
        low = grouped.amin(groups.axis, keepdim=True)
        high = grouped.amax(groups.axis, keepdim=True)
        zero = ((low + high) / 2).half()
        reach = torch.maximum(high - zero, zero - low)
        # Rounded up, so that no code leaves [0, levels]; the least float16 serves constant groups.
        scale = (reach * (2 / levels * (1 + 2**-10)) + 2**-24).half()
        codes = ((grouped - zero) / scale.float()).add_(levels / 2).round_().to(torch.uint8)
        scales = torch.cat((scale.flatten(1), zero.flatten(1)), dim=1)
        codes = codes.flatten(1)
        return scales, codes if self.bits == 8 else _packed(codes)

    def _dequantise(self, rows: Tensor, layout: RowLayout, *into: Tensor) -> None:
        """Into keys and values, each [kv_heads, blocks, tokens, head_dim]."""
        keys, values = groups_of_both = self._groups(layout)
        num_scales = [keys.num_scales, keys.num_scales, values.num_scales, values.num_scales]
        scale_bytes = 2 * sum(num_scales)
        scales = torch.split(rows[:, :scale_bytes].view(torch.float16).float(), num_scales, dim=1)
        codes = rows[:, scale_bytes:]
        for groups, scale, zero, out in zip(
            groups_of_both, scales[::2], scales[1::2], into, strict=True
        ):
            packed, codes = codes.tensor_split([self._code_bytes(groups)], dim=1)
            unpacked = packed if self.bits == 8 else _unpacked(packed, groups.num_codes)
            groups.expand(unpacked, scale, zero - scale * ((2**self.bits - 1) / 2), out)


class _Groups:
    """How the numbers of one layer, `shape` = [kv_heads, tokens, head_dim], share their scales.

    `axis` (counted from the end) is split into [count, size], with a size of no more than
    `largest`; the last group is padded if need be.
    """

    def __init__(self, shape: tuple[int, int, int], axis: int, largest: int | None) -> None:
        self.shape, self.axis = shape, axis
        self.count = ceil(shape[axis] / largest) if largest else 1
        self.size = ceil(shape[axis] / self.count)
        self.num_padded = self.count * self.size - shape[axis]
        before, after = shape[:axis], shape[axis:][1:]
        self.code_shape = (*before, self.count, self.size, *after)
        self.scale_shape = (*before, self.count, 1, *after)
        self.num_codes, self.num_scales = prod(self.code_shape), prod(self.scale_shape)

    def grouped(self, numbers: Tensor) -> Tensor:
        """[layers, *shape] -> [layers, *code_shape]; padding repeats the last number."""
        if self.num_padded:
            last = numbers.narrow(self.axis, -1, 1)
            numbers = torch.cat((numbers, *([last] * self.num_padded)), dim=self.axis)
        return torch.unflatten(numbers, self.axis, (self.count, self.size))

    def expand(self, codes: Tensor, scale: Tensor, low: Tensor, out: Tensor) -> None:
        """codes * scale + low, each [blocks, numbers], into `out` [kv_heads, blocks, ...]."""
        codes = torch.unflatten(codes, 1, self.code_shape).transpose(0, 1)
        scale = torch.unflatten(scale, 1, self.scale_shape).transpose(0, 1)
        low = torch.unflatten(low, 1, self.scale_shape).transpose(0, 1)
        if self.num_padded:
            padded = torch.addcmul(low, codes, scale).flatten(self.axis - 1, self.axis)
            out.copy_(padded.narrow(self.axis, 0, self.shape[self.axis]))
        else:
            # One kernel that reads bytes and writes the result: nothing of its size in between.
            torch.addcmul(
                low, codes, scale, out=torch.unflatten(out, self.axis, (self.count, self.size))
            )


def _packed(codes: Tensor) -> Tensor:
    """[layers, codes] of 4 bits -> [layers, ceil(codes / 2)]: first half low, second half high."""
    half = ceil(codes.shape[1] / 2)
    packed = codes[:, :half].clone()
    packed[:, : codes.shape[1] - half] |= codes[:, half:] << 4
    return packed


def _unpacked(packed: Tensor, num_codes: int) -> Tensor:
    return torch.cat((packed & 15, packed >> 4), dim=1)[:, :num_codes]
