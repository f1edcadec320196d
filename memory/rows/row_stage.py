"""Decode encoded rows of one layer into contiguous keys and values.

On a GPU they go through RowStage. Rows lie scattered in the process's memory. A GPU reads pinned
memory at the full rate of its bus while the CPU goes on; anything else its driver first copies,
with one thread. So several threads gather the rows in one pinned buffer, and the GPU fetches that.
"""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from memory.block_info import Provenance, RowForm
from memory.codecs.codec import codec_named
from memory.kv_block import KeysAndValues
from memory.locks import Rank, ranked_lock

_COPIERS = 8
_SHARE_BYTES = 1 << 20
"""The least number of bytes that is worth a thread."""


class RowStage:
    """Stages rows for one device. Safe from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._fetched: torch.cuda.Event | None = None
        self._copiers = ThreadPoolExecutor(_COPIERS, thread_name_prefix="rows")
        self._lock = ranked_lock(Rank.ROW_STAGE)

    def stack(self, rows: Sequence[bytes]) -> UInt8[Tensor, "rows row_bytes"]:
        """Copy rows of equal length to the device, in the order given. Later work on the current
        CUDA stream may use them.
        """
        with self._lock:
            if self._fetched is not None:
                self._fetched.synchronize()  # wait until the GPU has read the buffer
            gathered = self._room(len(rows), len(rows[0]))
            self._gather(rows, gathered.numpy())
            staged = gathered.to(self._device, non_blocking=True, copy=True)
            if self._device.type == "cuda":
                self._fetched = torch.cuda.current_stream(self._device).record_event()
            return staged

    def _room(self, rows: int, row_bytes: int) -> Tensor:
        if self._buffer.numel() < rows * row_bytes:
            self._buffer = torch.empty(
                rows * row_bytes, dtype=torch.uint8, pin_memory=self._device.type == "cuda"
            )
        return self._buffer[: rows * row_bytes].view(rows, row_bytes)

    def _gather(self, rows: Sequence[bytes], into: np.ndarray) -> None:
        shares = min(_COPIERS, len(rows), 1 + into.nbytes // _SHARE_BYTES)

        def copy(share: int) -> None:
            for place in range(share, len(rows), shares):
                into[place] = np.frombuffer(rows[place], dtype=np.uint8)

        if shares == 1:
            copy(0)
        else:
            list(self._copiers.map(copy, range(shares)))


@cache
def stage_of(device: torch.device) -> RowStage:
    """Return the stage that all memories of a device share; they are read one after another."""
    return RowStage(device)


def decoded(
    rows: Sequence[bytes],
    forms: Sequence[RowForm],
    provenance: Provenance,
    dtype: torch.dtype,
    device: torch.device,
) -> KeysAndValues:
    """Decode rows on `device`, in the order given; rows of one form are decoded together."""
    alike: dict[tuple[RowForm, int], list[int]] = defaultdict(list)
    for place, (row, form) in enumerate(zip(rows, forms, strict=True)):
        alike[form, len(row)].append(place)
    if len(alike) == 1:
        return _decoded_alike(rows, forms[0], dtype, device)

    ends = torch.tensor([form.layout.tokens for form in forms], dtype=torch.int64).cumsum(0)
    total = int(ends[-1]) if len(forms) else 0
    keys = torch.empty(provenance.kv_heads, total, provenance.head_dim, dtype=dtype, device=device)
    values = torch.empty_like(keys)
    for (form, _), places in alike.items():
        of_group = _decoded_alike([rows[at] for at in places], form, dtype, device)
        starts = ends[places] - form.layout.tokens
        tokens = (starts[:, None] + torch.arange(form.layout.tokens)).flatten().to(device)
        keys[:, tokens], values[:, tokens] = of_group
    return keys, values


def _decoded_alike(
    rows: Sequence[bytes], form: RowForm, dtype: torch.dtype, device: torch.device
) -> KeysAndValues:
    if device.type == "cuda":  # as bytes: the least to transfer
        stacked = stage_of(device).stack(rows)
    else:
        joined = torch.frombuffer(bytearray().join(rows), dtype=torch.uint8)
        stacked = joined.view(len(rows), -1).to(device)
    return codec_named(form.codec).decode(stacked, form.layout, dtype)
