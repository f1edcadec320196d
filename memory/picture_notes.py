"""picture_notes: each block's picture vector, as a policy notes and compares it.

One note holds the vectors of up to RUN_BLOCKS neighbours and is rewritten for each new one, so a
long stream has few notes.

    note     length of a vector, then for each block: id, stream time from and to, float16 vector
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from memory.policy_hooks import UNCHANGED, NewBlock, State, StateChange

if TYPE_CHECKING:
    from jaxtyping import Float32

RUN_BLOCKS = 64
_LENGTH = np.dtype("<u4")


def note_picture(block: NewBlock, state: State) -> StateChange:
    """Add a new block's vector to its run's note; delete the notes of runs without kept blocks."""
    if block.picture is None:
        return UNCHANGED
    vector = block.picture.float().cpu().numpy()
    times = block.tokens.start_s, block.tokens.end_s
    new = np.array([(block.block_id, *times, vector)], _entries_of(len(vector)))
    name = str(block.block_id // RUN_BLOCKS)
    before = state.get(name, _LENGTH.type(len(vector)).tobytes())
    gone = [run for run in state if (int(run) + 1) * RUN_BLOCKS <= block.oldest_id]
    return {**dict.fromkeys(gone), name: before + new.tobytes()}


def picture_scores(
    block_ids: Sequence[int], text: "Float32[np.ndarray, ' dim']", state: State
) -> "Float32[np.ndarray, ' blocks'] | None":
    """Return the product of `text` and each block's vector; ids ascend. None if one has none."""
    ids = np.asarray(block_ids)
    scores = np.empty(len(ids), np.float32)
    for run in np.unique(ids // RUN_BLOCKS).tolist():
        if (note := state.get(str(run))) is None:
            return None
        entries = _read(note)
        of_run = slice(*np.searchsorted(ids, (run * RUN_BLOCKS, (run + 1) * RUN_BLOCKS)))
        places = np.searchsorted(entries["id"], ids[of_run])
        if (entries["id"].take(places, mode="clip") != ids[of_run]).any():
            return None
        scores[of_run] = entries["vector"][places].astype(np.float32) @ text
    return scores


def without_pictures(state: State, from_s: float, to_s: float) -> StateChange:
    """Return the notes that change when everything that shows any of [from_s, to_s] is deleted."""
    changes: dict[str, bytes | None] = {}
    for name, value in state.items():
        entries = _read(value)
        stays = entries[(entries["from_s"] > to_s) | (entries["to_s"] < from_s)]
        if len(stays) < len(entries):
            changes[name] = value[: _LENGTH.itemsize] + stays.tobytes() if len(stays) else None
    return changes


def _read(note: bytes) -> np.ndarray:
    length = int(np.frombuffer(note, _LENGTH, count=1)[0])
    return np.frombuffer(note, _entries_of(length), offset=_LENGTH.itemsize)


def _entries_of(length: int) -> np.dtype:
    return np.dtype(
        [("id", "<i8"), ("from_s", "<f8"), ("to_s", "<f8"), ("vector", "<f2", (length,))]
    )
