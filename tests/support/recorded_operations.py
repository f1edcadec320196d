"""Recording without a card: what a CUDA graph would keep of a computation, and no more.

`record_operations` runs a computation once and keeps the operations on tensors that it came to.
A replay does those again, on the same tensors, without the computation's Python: a number that had
been read from a tensor, or a shape that was chosen by one, stays as it was, and a buffer that was
replaced is not seen. What would make a card wait while it records is refused as CUDA refuses it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "item", "unique")


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Callable[[], None]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.split("::")[1]
        waits = name in _WAITING or (name == "index" and _has_mask(args[1]))
        if waits or (name.startswith("index_put") and _has_mask(args[1])):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        made = func(*args, **kwargs)
        if func._schema.is_mutable or not _storages(made) <= _storages((args, kwargs)):
            self.parts.append(lambda: _again(func, args, kwargs, made))
        return made


def _has_mask(indices: Any) -> bool:
    return any(one is not None and one.dtype is torch.bool for one in indices)


def _storages(tree: Any) -> set[int]:
    """A view shares its own with what it is of; nothing has to be done for it again."""
    return {one.untyped_storage()._cdata for one in tree_leaves(tree) if isinstance(one, Tensor)}


def _again(func: Any, args: Any, kwargs: Any, made: Any) -> None:
    """Into the tensors of the first time; in place operations have written there already."""
    for old, new in zip(tree_leaves(made), tree_leaves(func(*args, **kwargs)), strict=True):
        if isinstance(old, Tensor) and old is not new:
            old.copy_(new)


def record_operations(
    run: Callable[[Callable[[Callable[[], None]], None]], Tensor], device: torch.device
) -> Callable[[], Tensor]:
    """As `vstream.engine.recording.record_graphs`, on any device."""
    recorder = _Recorder()

    def cut(between: Callable[[], None]) -> None:
        recorder.parts.append(between)

    with recorder:
        result = run(cut)

    @torch.inference_mode()
    def replay() -> Tensor:
        for part in recorder.parts:
            part()
        return result

    return replay
