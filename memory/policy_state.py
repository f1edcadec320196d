"""What a memory policy notes of a stream: bytes by name, kept beside the blocks in every tier.

A note rides on a block: it is there once that block is, and not before, whenever the process dies.
It outlives the block.
"""

from collections.abc import Mapping

State = Mapping[str, bytes]
"""Everything noted so far."""
StateChange = Mapping[str, bytes | None]
"""What is noted in addition or in place of what has that name; None: it goes."""
UNCHANGED: StateChange = {}


def changed(state: State, change: StateChange) -> dict[str, bytes]:
    """The state after a change."""
    merged = {**state, **change}
    return {name: value for name, value in merged.items() if value is not None}


def state_bytes(state: State) -> int:
    """Bytes of names and values."""
    return sum(len(name.encode()) + len(value) for name, value in state.items())
