"""Frames of features as new blocks, and the choices that an official run made."""

import torch

from memory.policy_hooks import NewBlock
from memory.token_bytes import KeptTokens


class Told:
    """What the official k-means began from, and which rows filled empty clusters."""

    def __init__(self, case):
        start = case.get("init", case.get("init_rows")) or []
        self._start = start[0] if start and isinstance(start[0], list) else start
        self._refills = list(case["random_refills"])

    def start(self, rows, most):
        if self._start:
            return self._start
        return [at for at, row in enumerate(rows) if not any(row.equal(one) for one in rows[:at])]

    def refill(self, num_rows):
        return self._refills.pop(0)


def blocks_of(frames, positions=None, advance=None):
    """A block a frame, a second each; features are [frames, cells, width]."""
    cells = frames.shape[1]
    where = torch.arange(cells)[None] if positions is None else positions
    step = torch.tensor([cells]) if advance is None else advance
    seen = torch.ones(cells, dtype=torch.bool)
    return [
        NewBlock(number, KeptTokens(frame, where, step, seen, float(number), float(number)), {})
        for number, frame in enumerate(frames)
    ]
