"""Words: numbers and documents as the API gives them in, what people read of them out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.resources import files

from jinja2 import Environment

from app.server.documents import StreamDocument
from app.server.moment_documents import CoveredDocument, FoundSpanDocument
from app.stream_time import clock


def wall(epoch_s: float) -> str:
    """The time of day, in this machine's zone, with the date unless it is today's."""
    moment = datetime.fromtimestamp(epoch_s).astimezone()
    is_today = moment.date() == datetime.now().astimezone().date()
    return moment.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M:%S")


def size(num_bytes: float) -> str:
    """As 12 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def length(seconds: float) -> str:
    """As 42 s, 12 min or 3.5 h."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def moments(count: int) -> str:
    """As 1 moment or 6 moments."""
    return "1 moment" if count == 1 else f"{count} moments"


def span_words(span: FoundSpanDocument) -> str:
    """From when to when it was so, and how probably."""
    unsure = "" if span.is_whole else ", perhaps longer"
    return f"{clock(span.from_s)} to {clock(span.to_s)}{unsure}, {span.probability:.0%} probable"


def covered(parts: Sequence[CoveredDocument]) -> str:
    """How much of a stretch was looked at, and what of the rest is known."""
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
        told.append(f"of {clock(lasts_s['gone'])} nothing is kept")
    return ", ".join(told)


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def trouble(problem: object) -> str:
    return f'<p class="trouble">{escape(str(problem))}</p>'


_drawing = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_drawing.filters.update(size=size, length_of=length, wall=wall, covered=covered)
_parts = _drawing.from_string((files("app.page") / "parts.html").read_text("utf-8")).module


def drawn(part: str, *told: object) -> str:
    """One of the parts in parts.html."""
    return str(getattr(_parts, part)(*told))


def status_line(told: StreamDocument, rates: Mapping[str, float], look: int = 0) -> str:
    """State, age of the newest frame, rates, drops, and what the memory holds. `rates` are frames
    per second, as far as they are known. `look` numbers the looks: the page counts an age up from
    the last one.
    """
    return drawn("status", told, rates, look)


def no_stream(look: int = 0) -> str:
    """There is no stream. By another `look` than before the page knows that it is still told."""
    return drawn("nothing", look)


def problem_line(problem: str, look: int = 0, age_s: float | None = None) -> str:
    """The service says no, or nothing; `age_s` is that of the newest frame it told of before."""
    return drawn("lost", problem, look, age_s)
