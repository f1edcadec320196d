"""Status line: a stream's document in, how it is doing out, as HTML."""

from collections.abc import Mapping
from html import escape

from app.page.words import length, size, trouble
from app.server.documents import MemoryDocument, StreamDocument

_STATES = {
    "running": ("good", "watching"),
    "connecting": ("calm", "connecting"),
    "paused": ("calm", "paused"),
    "ended": ("calm", "has ended"),
    "reconnecting": ("warn", "reconnecting"),
    "stalled": ("warn", "no frames come"),
    "error": ("bad", "error"),
}
"""How a state is coloured, and called."""
_TIERS = {"host": "in RAM", "file": "in files", "redis": "in Redis"}


def status_line(told: StreamDocument, rates: Mapping[str, float], look: int = 0) -> str:
    """State, age of the newest frame, rates, drops, and what the memory holds. `rates` are frames
    per second, as far as they are known. `look` numbers the looks: the page counts an age up from
    the last one.
    """
    kind, words = _STATES.get(told.state, ("calm", told.state))
    state = f'<b class="state {kind}">{escape(words)}</b>'
    parts = [state, _age(told.last_frame_age_s), _rate(told, rates)]
    problem = trouble(told.error.message) if told.error else ""
    line = f'<p class="line">{" ".join(part for part in parts if part)}</p>'
    shown = f"{line}{problem}{_counts(told)}{_memory(told.memory)}"
    return _status(kind, told.state, look, shown)


def no_stream(look: int = 0) -> str:
    """Nothing is watched. By another `look` than before the page knows that it is still told."""
    return _status("calm", "none", look, "")


def problem_line(problem: str, look: int = 0, age_s: float | None = None) -> str:
    """The service says no, or nothing; `age_s` is that of the newest frame it told of before."""
    age = "" if age_s is None else _age(age_s)
    line = f'<p class="line"><b class="state bad">disconnected</b> {age}</p>'
    return _status("bad", "lost", look, line + trouble(f"{problem}, trying again"))


def _status(kind: str, state: str, look: int, shown: str) -> str:
    head = f'class="status {kind}" role="status" data-state="{state}" data-look="{look}"'
    return f"<div {head}>{shown}</div>"


def _age(age_s: float | None) -> str:
    if age_s is None:
        return "<span>no frame yet</span>"
    age = f'<span class="age" data-age="{age_s:.2f}">{age_s:.1f} s</span>'
    return f"<span>newest frame {age} old</span>"


def _rate(told: StreamDocument, rates: Mapping[str, float]) -> str:
    if told.state != "running" or "sampled" not in rates:
        return ""
    sampled, received = rates["sampled"], rates["received"]
    return f"<span><b>{sampled:.1f}</b> frames/s sampled of {received:.1f} received</span>"


def _counts(told: StreamDocument) -> str:
    dropped, frames = told.dropped, told.frames
    lost = dropped["stale"] + dropped["corrupt"]
    parts = [
        f"{frames['encoded']} frames encoded",
        f"{dropped['duplicate']} skipped as alike",
        f'<span class="{"bad" if lost else ""}">{lost} dropped</span>',
    ]
    if dropped["corrupt"]:
        parts[-1] += f" ({dropped['corrupt']} damaged)"
    if told.reconnects:
        parts.append(f"{told.reconnects} reconnects")
    return f'<p class="counts">{" · ".join(parts)}</p>'


def _memory(memory: MemoryDocument) -> str:
    if not memory.blocks:
        return '<p class="counts">nothing is remembered yet</p>'
    rows = "".join(
        f"<li><b>{escape(_TIERS.get(tier, tier))}</b> {size(count)}"
        f" · {length(memory.seconds.get(tier, 0.0))}</li>"
        for tier, count in memory.bytes.items()
        if count
    )
    if memory.waiting_blocks:
        rows += f"<li>{memory.waiting_blocks} blocks wait to be kept</li>"
    counted = f'<p class="counts">remembers {memory.blocks} blocks</p>'
    return f'{counted}<ul class="tiers">{rows}</ul>'
