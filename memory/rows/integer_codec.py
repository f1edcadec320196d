"""IntegerCodec: quantises keys and values to small unsigned integers with scales and zeros.

Source: KIVI (Liu et al., ICML 2024), section 3: keys are quantised along the tokens (each channel
by itself), values along the channels (each token by itself), both asymmetrically. With `levels` =
2^bits - 1 the number x of a group becomes

    code = round((x - zero) / scale + levels / 2),    x' = (code - levels / 2) * scale + zero

Differs from the paper: keys are taken before RoPE, where a channel's large bias is the same for
all tokens and so vanishes in `zero`. `zero` is the middle of the group's range, not its low end, so
rounding it to float16 costs only a slightly larger scale. A group is all tokens of the block (all
dims of the head) unless a largest size is given; then all groups have equal sizes.

Values of video vary less along the tokens than along the channels (VidKV, Tao et al. 2025,
arXiv 2503.16257): `values_by_channel` quantises them like keys if that takes fewer bytes. Earlier
rows, which are longer then, are still read.
"""

from math import ceil, prod
from typing import ClassVar

import torch
from torch import Tensor

from memory.block_info import RowLayout
from memory.codecs.codec import BlockCodec
from memory.errors import BlockRejectedError
from memory.kv_block import EncodedRows, KeysAndValues, OfBlock

_ROW_ALIGN_BYTES = 16
_CPU_SLAB_NUMEL = 1 << 19
"""Numbers dequantised at once on a CPU, so that the temporaries stay in its cache."""


class IntegerCodec(BlockCodec):
    """A row is the scales and zeros of keys and values (float16), then their codes.

    Float16 scales take half the bytes of float32; the error of the attention output grows by less
    than a fiftieth. A block with numbers beyond float16 is refused.
    """

    bits: ClassVar[int]
    max_group_tokens: ClassVar[int | None] = None
    max_group_dims: ClassVar[int | None] = None
    has_zero: ClassVar[bool] = True
    """Whether `zero` is kept; else it is 0."""
    keys_by_token: ClassVar[bool] = False
    """Whether keys are quantised like values."""
    values_by_channel: ClassVar[bool] = False

    def row_bytes(self, layout: RowLayout) -> int:
        return self._row_bytes(self._groups(layout))

    def encode(self, keys: OfBlock, values: OfBlock) -> EncodedRows:
        layers = len(keys)
        groups = self._groups(RowLayout.of(keys))
        key_scales, key_codes = self._quantised(keys, groups[0])
        value_scales, value_codes = self._quantised(values, groups[1])
        scales = torch.cat((key_scales, value_scales), dim=1)
        if not torch.isfinite(scales).all():
            raise BlockRejectedError(
                f"codec {self.name}: keys or values hold inf, nan or numbers beyond float16; if "
                "they are finite use the codec bf16 or exact, otherwise look for the cause in the "
                "model's dtype or weights"
            )
        parts = [scales.view(torch.uint8), key_codes, value_codes]
        padding = self._row_bytes(groups) - sum(part.shape[1] for part in parts)
        return torch.cat((*parts, key_codes.new_zeros(layers, padding)), dim=1)

    def decode(self, rows: EncodedRows, layout: RowLayout, dtype: torch.dtype) -> KeysAndValues:
        blocks, groups = rows.shape[0], self._groups(layout)
        if rows.shape[1] != self._row_bytes(groups):
            groups = self._groups_by_token(layout)
        shape = (layout.kv_heads, blocks, layout.tokens, layout.head_dim)
        keys = torch.empty(shape, dtype=dtype, device=rows.device)
        values = torch.empty_like(keys)
        on_cpu = rows.device.type == "cpu"
        slab = max(1, _CPU_SLAB_NUMEL // layout.numel) if on_cpu else max(1, blocks)
        for first in range(0, blocks, slab):
            part = slice(first, first + slab)
            self._dequantise(rows[part], groups, keys[:, part], values[:, part])
        return keys.flatten(1, 2), values.flatten(1, 2)

    def fitted(self, grouped: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return scales, zeros (float16) and codes (uint8); numbers along `axis` share a scale."""
        levels = 2**self.bits - 1
        zero, reach = self._middle(grouped, axis)
        # Rounded up, so that no code leaves [0, levels]; constant groups get the least float16.
        scale = (reach * (2 / levels * (1 + 2**-10)) + 2**-24).half()
        codes = ((grouped - zero) / scale.float()).add_(levels / 2).round_().to(torch.uint8)
        return scale, zero, codes

    def numbers(self, codes: Tensor, scale: Tensor, zero: Tensor) -> tuple[Tensor, Tensor]:
        """Return what codes stand for: a factor of `scale`, and a term to add to the product."""
        return codes, zero - scale * ((2**self.bits - 1) / 2)

    def _middle(self, grouped: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Return the zeros of groups, in float16, and how far numbers lie from them at most."""
        low = grouped.amin(axis, keepdim=True)
        high = grouped.amax(axis, keepdim=True)
        zero = ((low + high) / 2).half() if self.has_zero else torch.zeros_like(low).half()
        return zero, torch.maximum(high - zero, zero - low)

    def _groups(self, layout: RowLayout) -> "_BothGroups":
        by_token = self._groups_by_token(layout)
        if not self.values_by_channel:
            return by_token
        by_channel = by_token[0], by_token[0]
        return min(by_token, by_channel, key=self._row_bytes)  # if equal, the earlier format

    def _groups_by_token(self, layout: RowLayout) -> "_BothGroups":
        shape = (layout.kv_heads, layout.tokens, layout.head_dim)
        by_token = _Groups(shape, axis=-1, largest=self.max_group_dims)
        if self.keys_by_token:
            return by_token, by_token
        return _Groups(shape, axis=-2, largest=self.max_group_tokens), by_token

    def _row_bytes(self, groups: "_BothGroups") -> int:
        unaligned = sum(
            2 * one.num_scales * (1 + self.has_zero) + self._code_bytes(one) for one in groups
        )
        return ceil(unaligned / _ROW_ALIGN_BYTES) * _ROW_ALIGN_BYTES

    def _code_bytes(self, groups: "_Groups") -> int:
        return ceil(groups.num_codes * self.bits / 8)

    def _quantised(self, numbers: Tensor, groups: "_Groups") -> tuple[Tensor, Tensor]:
        """Return float16 [layers, scales then zeros] and uint8 [layers, code_bytes]."""
        scale, zero, codes = self.fitted(groups.grouped(numbers.float()), groups.axis)
        kept = (scale, zero) if self.has_zero else (scale,)
        scales = torch.cat([one.flatten(1) for one in kept], dim=1)
        return scales, _packed(codes.flatten(1), self.bits)

    def _dequantise(self, rows: Tensor, both: "_BothGroups", *into: Tensor) -> None:
        """Write into keys and values, each [kv_heads, blocks, tokens, head_dim]."""
        each = 1 + self.has_zero
        num_scales = [groups.num_scales for groups in both for _ in range(each)]
        scale_bytes = 2 * sum(num_scales)
        scales = torch.split(rows[:, :scale_bytes].view(torch.float16).float(), num_scales, dim=1)
        codes = rows[:, scale_bytes:]
        for at, (groups, out) in enumerate(zip(both, into, strict=True)):
            scale, *zeros = scales[each * at : each * (at + 1)]
            zero = zeros[0] if zeros else torch.zeros_like(scale)
            packed, codes = codes.tensor_split([self._code_bytes(groups)], dim=1)
            unpacked = _unpacked(packed, self.bits, groups.num_codes)
            numbers, low = self.numbers(unpacked, scale, zero)
            groups.expand(numbers, scale, low, out)


class _Groups:
    """How the numbers of one layer, `shape` = [kv_heads, tokens, head_dim], share their scales.

    `axis` (counted from the end) is split into [count, size], with a size of at most `largest`; the
    last group is padded if necessary.
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
        """Reshape [layers, *shape] to [layers, *code_shape]; padding repeats the last number."""
        if self.num_padded:
            last = numbers.narrow(self.axis, -1, 1)
            numbers = torch.cat((numbers, *([last] * self.num_padded)), dim=self.axis)
        return torch.unflatten(numbers, self.axis, (self.count, self.size))

    def expand(self, codes: Tensor, scale: Tensor, low: Tensor, out: Tensor) -> None:
        """Write codes * scale + low, each [blocks, numbers], into `out` [kv_heads, blocks, ...]."""
        codes = torch.unflatten(codes, 1, self.code_shape).transpose(0, 1)
        scale = torch.unflatten(scale, 1, self.scale_shape).transpose(0, 1)
        low = torch.unflatten(low, 1, self.scale_shape).transpose(0, 1)
        if self.num_padded:
            padded = torch.addcmul(low, codes, scale).flatten(self.axis - 1, self.axis)
            out.copy_(padded.narrow(self.axis, 0, self.shape[self.axis]))
        else:
            # One kernel reads bytes and writes the result, without temporaries of its size.
            torch.addcmul(
                low, codes, scale, out=torch.unflatten(out, self.axis, (self.count, self.size))
            )


_BothGroups = tuple[_Groups, _Groups]
"""The groups of keys and of values."""


def _packed(codes: Tensor, bits: int) -> Tensor:
    """Pack [layers, codes] into [layers, bytes]; the first codes fill each byte's lowest bits."""
    if bits == 8:
        return codes
    first, *others = codes.split(ceil(codes.shape[1] * bits / 8), dim=1)
    packed: Tensor = first.clone()
    for place, part in enumerate(others, start=1):
        packed[:, : part.shape[1]] |= part << bits * place
    return packed


def _unpacked(packed: Tensor, bits: int, num_codes: int) -> Tensor:
    if bits == 8:
        return packed
    parts = [(packed >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return torch.cat(parts, dim=1)[:, :num_codes]
