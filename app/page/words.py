"""Words: write the API's numbers and documents as text for people."""

from collections.abc import Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from jinja2 import Environment

from app.server.documents import MemoryDocument
from app.server.moment_documents import CoveredDocument, FoundSpanDocument
from app.stream_time import clock

STATES = {
    "running": ("good", "live"),
    "connecting": ("calm", "connecting"),
    "paused": ("calm", "paused"),
    "ended": ("calm", "ended"),
    "reconnecting": ("warn", "reconnecting"),
    "stalled": ("warn", "no frames"),
    "error": ("bad", "error"),
}
"""State of a stream -> (kind, which sets the colour; words)."""


def wall(epoch_s: float) -> str:
    """Format the time of day in this machine's zone, with the date unless it is today."""
    moment = datetime.fromtimestamp(epoch_s).astimezone()
    is_today = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def condition_words(condition: str) -> str:
    """Strip the "tell me when" that the model needs."""
    start = "tell me when "
    return condition[len(start) :] if condition.lower().startswith(start) else condition


def clock_of(rfc3339: str) -> str:
    """Format an RFC 3339 time as `wall` does."""
    return wall(datetime.fromisoformat(rfc3339).timestamp())


def size(num_bytes: float) -> str:
    """For example 12 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def length(seconds: float) -> str:
    """For example 42 s, 12 min or 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory_words(memory: MemoryDocument) -> str:
    """For example 13 min of memory (17 MB); empty if nothing is kept."""
    if not memory.blocks:
        return ""
    kept = length(memory.to_s - memory.from_s)
    return f"{kept} of memory ({size(sum(memory.bytes.values()))})"


def moments(count: int) -> str:
    """For example 1 moment or 6 moments."""
    return "1 moment" if count == 1 else f"{count} moments"


def span_words(span: FoundSpanDocument) -> str:
    """Describe a span: its start, end and probability."""
    unsure = "" if span.is_whole else ", perhaps longer"
    return f"{clock(span.from_s)} to {clock(span.to_s)}{unsure}, {span.probability:.0%} probable"


def covered(parts: Sequence[CoveredDocument]) -> str:
    """Describe how much of a range was looked at, and what happened to the rest."""
    lasts_s = {
        kind: sum(part.to_s - part.from_s for part in parts if part.kind == kind)
        for kind in ("judged", "excluded", "open", "gone")
    }
    told = [f"looked at {clock(lasts_s['judged'])} of {clock(sum(lasts_s.values()))}"]
    if lasts_s["excluded"]:
        told.append(f"{clock(lasts_s['excluded'])} ruled out by the index")
    if lasts_s["open"]:
        told.append(f"{clock(lasts_s['open'])} not looked at")
    if lasts_s["gone"]:
        told.append(f"{clock(lasts_s['gone'])} no longer kept")
    return ", ".join(told)


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def trouble(problem: object) -> str:
    return f'<p class="trouble">{escape(str(problem))}</p>'


_drawing = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_drawing.filters.update(
    condition=condition_words,
    size=size,
    length_of=length,
    wall=wall,
    clock_of=clock_of,
    covered=covered,
)
_parts = _drawing.from_string((files("app.page") / "parts.html").read_text("utf-8")).module


def drawn(part: str, *told: object) -> str:
    """Render one of the parts in parts.html."""
    return str(getattr(_parts, part)(*told))
