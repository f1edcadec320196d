"""`vstream forget`: a range of a stream's time, deleted from the store."""

from app.stream_time import clock
from app.terminal import Terminal
from memory import open_stored
from vstream.config import VStreamConfig
from vstream.errors import SettingsError


def forget_range(
    terminal: Terminal, config: VStreamConfig, stream: str, from_s: float, to_s: float
) -> None:
    """Delete and say how much. Raises SettingsError, KVMemoryError."""
    if to_s < from_s:
        raise SettingsError(f"--to {clock(to_s)} is before --from {clock(from_s)}")
    with open_stored(config.memory, stream) as memory:
        gone = memory.forget(from_s, to_s)
    terminal.say(f"{gone} blocks from {clock(from_s)} to {clock(to_s)} are deleted")
