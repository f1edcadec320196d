"""keep_ids: what an update puts in the place of a component of a page keeps that component's id.

Gradio (6.31) makes a new component of every update, `gr.skip()` included, and files it under the
old one's id; but it has a new id of its own, and the next event that has it as an input files it
under that as well. The page looks every second: a session kept some thousand components an hour,
each with what it showed.
"""

from typing import Any

from gradio.blocks import Block
from gradio.state_holder import SessionState

_MARK = "_keeps_ids"


def keep_ids() -> None:
    """For all sessions of this process. Repeating is harmless."""
    if getattr(SessionState, _MARK, False):
        return
    set_item = SessionState.__setitem__

    def file_under(state: SessionState, key: int, value: Any) -> None:
        if isinstance(value, Block):
            value._id = key
        set_item(state, key, value)

    SessionState.__setitem__ = file_under  # type: ignore[method-assign]
    setattr(SessionState, _MARK, True)
