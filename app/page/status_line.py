"""Status line: a stream's document in, how it is doing out, as HTML."""

from html import escape

from app.page.words import length, size
from app.server.documents import StreamDocument

_GOOD = "running"


def status_line(told: StreamDocument | None, problem: str | None = None) -> str:
    """State, age of the newest frame, rates, drops, and what the memory holds."""
    if problem is not None:
        return f'<div class="status bad" role="status">{escape(problem)}</div>'
    if told is None:
        return '<div class="status">No stream yet: start your camera or add a source.</div>'
    kind = "good" if told.state == _GOOD else "bad" if told.error else "calm"
    age = "no frame yet" if told.last_frame_age_s is None else f"{told.last_frame_age_s:.1f} s old"
    dropped = told.dropped["stale"] + told.dropped["corrupt"]
    memory = told.memory
    tiers = ", ".join(f"{tier} {size(count)}" for tier, count in memory.bytes.items())
    parts = [
        f'<b class="state {kind}">{escape(told.state)}</b>',
        f'<span id="frame-age" data-age="{told.last_frame_age_s}">newest frame {age}</span>',
        f"up to {told.sampled_fps:g} frames/s encoded",
        f"{told.frames['encoded']} encoded, {told.dropped['duplicate']} alike, {dropped} dropped",
        f"remembers {length(memory.to_s - memory.from_s)} in {memory.blocks} blocks ({tiers})",
    ]
    if told.error is not None:
        parts.append(f"<span class='bad'>{escape(told.error.message)}</span>")
    inner = " · ".join(parts)
    return f'<div class="status {kind}" role="status" data-state="{told.state}">{inner}</div>'
