"""Encoded rows of one layer in, their keys and values in one piece out.

On a card they go through RowStage. Rows lie scattered in the process's memory; a card reads pinned
memory at the full rate of its bus while the processor goes on, and what lies elsewhere its driver
copies first, with one thread. So rows are gathered in one pinned buffer, by several threads, and
the card fetches that.
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
"""A thread is worth its while from so many bytes on."""


class RowStage:
    """One for a device. May be called from any thread."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(0, dtype=torch.uint8)
        self._fetched: torch.cuda.Event | None = None
        self._copiers = ThreadPoolExecutor(_COPIERS, thread_name_prefix="rows")
        self._lock = ranked_lock(Rank.ROW_STAGE)

    def stack(self, rows: Sequence[bytes]) -> UInt8[Tensor, "rows row_bytes"]:
        """Rows of one length, in the order given. Work of the current stream finds them there."""
        with self._lock:
            if self._fetched is not None:
                self._fetched.synchronize()  # before the card is done with it nothing is laid there
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
    """The stage that all memories of a device share: they are read one after the other."""
    return RowStage(device)


def decoded(
    rows: Sequence[bytes],
    forms: Sequence[RowForm],
    provenance: Provenance,
    dtype: torch.dtype,
    device: torch.device,
) -> KeysAndValues:
    """Row after row, in the order given, on `device`; those that are alike are decoded together."""
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
    if device.type == "cuda":  # as bytes: the fewest that can cross to it
        stacked = stage_of(device).stack(rows)
    else:
        joined = torch.frombuffer(bytearray().join(rows), dtype=torch.uint8)
        stacked = joined.view(len(rows), -1).to(device)
    return codec_named(form.codec).decode(stacked, form.layout, dtype)
