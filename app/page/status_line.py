"""Status line: a stream's document in, how it is doing out, as HTML."""

from collections.abc import Mapping

from app.page.words import drawn
from app.server.documents import StreamDocument


def status_line(told: StreamDocument, rates: Mapping[str, float], look: int = 0) -> str:
    """State, age of the newest frame, rates, drops, and what the memory holds. `rates` are frames
    per second, as far as they are known. `look` numbers the looks: the page counts an age up from
    the last one.
    """
    return drawn("status", told, rates, look)


def no_stream(look: int = 0) -> str:
    """Nothing is watched. By another `look` than before the page knows that it is still told."""
    return drawn("nothing", look)


def problem_line(problem: str, look: int = 0, age_s: float | None = None) -> str:
    """The service says no, or nothing; `age_s` is that of the newest frame it told of before."""
    return drawn("lost", problem, look, age_s)
