"""SharedWindows: keeps a prefix and recent window once for all answers that share them.

Those who ask the same stream at the same time see the same recent window behind the same prefix. It
is kept once for all of them, and read once for a token of each. Windows are compared number by
number: a block may have been encoded again in between, or stand elsewhere, because other blocks
were retrieved before it.

Source: the shared prefix of Hydragen (https://arxiv.org/abs/2402.05099, section 3). Differs: the
recent window stands behind blocks that each question has retrieved for itself, which changes
nothing, because keys carry their positions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from vstream.engine.answer_context import LaidLayer
from vstream.engine.cuda.row_buffers import roomy
from vstream.engine.decoder import Decoder

MOST_WINDOWS = 4
"""Every token reads each of them; further answers keep their windows to themselves."""


class SharedWindows:
    """Nothing in it is replaced while `generation` stays the same: graphs hold its addresses."""

    def __init__(self, decoder: Decoder) -> None:
        self.generation = 0
        """Rises whenever the buffers are replaced."""
        self._decoder = decoder
        self._ids: list[tuple[int, ...]] = []
        self._num_users: list[int] = []
        self.keys, self.values, self.filled = self._empty(0, 0)
        self._slots = torch.arange(0, device=decoder.device)

    @property
    def count(self) -> int:
        """Windows that there is room for; every step reads them all."""
        return len(self._ids)

    def join(self, ids: tuple[int, ...], layers: Sequence[LaidLayer]) -> int | None:
        """Return the number of the window in `layers`, kept from now on; None if there is no room.
        The caller must `leave` it. Raises OutOfMemoryError if it has to grow and cannot.
        """
        if not ids:
            return None
        number = self._find(ids, layers)
        if number is None:
            number = self._free()
            if number is None:
                return None
            self._put(number, ids, layers)
        self._num_users[number] += 1
        return number

    def leave(self, number: int) -> None:
        self._num_users[number] -= 1

    def is_seen(self, layer: int, number: int) -> Tensor:
        """Return which slots of the window hold a token."""
        return self._slots < self.filled[layer, number]

    def _find(self, ids: tuple[int, ...], layers: Sequence[LaidLayer]) -> int | None:
        for number in range(self.count):
            if self._num_users[number] and self._ids[number] == ids and self._is(number, layers):
                return number
        return None

    def _is(self, number: int, layers: Sequence[LaidLayer]) -> bool:
        same = []
        for layer, laid in enumerate(layers):
            keys, values = laid.shared()
            tokens = keys.shape[1]
            if tokens > self._slots.numel():
                return False
            for buffer, own in ((self.keys, keys), (self.values, values)):
                same.append((buffer[layer, number, :, :tokens] == own).all())
            same.append(self.filled[layer, number] == tokens)
        return bool(torch.stack(same).all())

    def _free(self) -> int | None:
        for number, users in enumerate(self._num_users):
            if not users:
                return number
        if self.count == MOST_WINDOWS:
            return None
        self._grow(max(1, 2 * self.count), self._slots.numel())
        return self._num_users.index(0)

    def _put(self, number: int, ids: tuple[int, ...], layers: Sequence[LaidLayer]) -> None:
        most, slots = max(laid.num_shared for laid in layers), self._slots.numel()
        if most > slots:
            self._grow(self.count, roomy(most, slots))
        for layer, laid in enumerate(layers):
            tokens = laid.num_shared
            for buffer, own in zip((self.keys, self.values), laid.shared(), strict=True):
                buffer[layer, number, :, :tokens] = own
                buffer[layer, number, :, tokens:] = 0  # what is masked must still be a number
            self.filled[layer, number].fill_(tokens)
        self._ids[number] = ids

    def _grow(self, count: int, num_slots: int) -> None:
        """Move into larger buffers."""
        keys, values, filled = self._empty(count, num_slots)
        before, slots = self.count, self._slots.numel()
        keys[:, :before, :, :slots], values[:, :before, :, :slots] = self.keys, self.values
        filled[:, :before] = self.filled
        self.keys, self.values, self.filled = keys, values, filled
        self._slots = torch.arange(num_slots, device=keys.device)
        self._ids += [()] * (count - before)
        self._num_users += [0] * (count - before)
        self.generation += 1

    def _empty(self, count: int, num_slots: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return keys and values, [layer, window, kv_head, slot, head_dim], and slots in use."""
        decoder = self._decoder
        shape = (decoder.num_layers, count, decoder.kv_heads, num_slots, decoder.head_dim)
        keys, values = (
            torch.zeros(shape, dtype=decoder.dtype, device=decoder.device) for _ in range(2)
        )
        return keys, values, torch.zeros(shape[:2], dtype=torch.long, device=decoder.device)
