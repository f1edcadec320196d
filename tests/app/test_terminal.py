"""What a person sees while a model is loaded."""

import io
import time

from rich.console import Console

from app.terminal import Terminal


def shown(is_terminal, seconds):
    """What `loading` writes to a screen that begun so many seconds ago."""
    terminal = Terminal()
    terminal.err = Console(file=io.StringIO(), force_terminal=is_terminal, width=80)
    terminal._began = time.monotonic() - seconds
    with terminal.loading("loading model embedded"):
        pass
    return terminal.err.file.getvalue()


def test_a_bar_has_the_seconds_since_the_command_began():
    told = shown(True, 12)
    assert "loading model embedded" in told
    assert "12 s" in told


def test_without_a_terminal_there_is_none():
    assert shown(False, 12) == ""
