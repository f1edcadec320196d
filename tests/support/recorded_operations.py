"""Recording without a card: what a CUDA graph keeps of a computation, and does again.

`record_operations` runs a computation as often as a card does and keeps the operations on tensors
that it comes to the last time. A replay does those again, on the same tensors, without the
computation's Python: a number that had been read from a tensor, or a shape that was chosen by one,
stays as it was, and a buffer that was replaced is not seen. Operations whose result has a shape
that only the card knows, or is a number, are refused as CUDA refuses them; a copy between host
and card looks like none here, and goes unnoticed. So does memory that is used again too early:
what an operation has made is kept, but is no number when a replay begins.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vstream.engine.cuda.recording import Computation, Replay

_WAITING = (
    "_local_scalar_dense",
    "_unique2",
    "argwhere",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "unique_dim",
)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Callable[[], None]] = []
        self.made: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        waits = name in _WAITING or (name == "index" and _has_mask(args[1]))
        waits = waits or (name == "where" and len(args) == 1)
        if waits or (name.startswith("index_put") and _has_mask(args[1])):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        made = func(*args, **kwargs)
        before = _storages((args, kwargs))
        is_mutable = func._schema.is_mutable
        new = [] if is_mutable else [one for one in _tensors(made) if _storage(one) not in before]
        if is_mutable or new:
            self.parts.append(lambda: _again(func, args, kwargs, made))
        self.made += new
        return made


def _has_mask(indices: Any) -> bool:
    return any(one is not None and one.dtype is torch.bool for one in indices)


def _storages(tree: Any) -> set[int]:
    """A view shares its own with what it is of; nothing has to be done for it again."""
    return {_storage(one) for one in _tensors(tree)}


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    return [one for one in tree_leaves(tree) if isinstance(one, Tensor)]


def _again(func: Any, args: Any, kwargs: Any, made: Any) -> None:
    """Into the tensors of the first time; in place operations have written there already."""
    for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
        if isinstance(old, Tensor) and old is not new:
            old.copy_(new)


def record_operations(compute: Computation, device: torch.device) -> Replay:
    """As `vstream.engine.cuda.recording.record_graphs`, on any device."""
    for _ in range(2):
        compute(lambda between: None)
    recorder = _Recorder()
    with recorder:
        result = compute(recorder.parts.append)

    @torch.inference_mode()
    def replay() -> Tensor:
        for one in recorder.made:
            if one.is_floating_point():
                one.fill_(torch.nan)
        for part in recorder.parts:
            part()
        return result

    return replay
