"""chat_messages: a visitor's questions and answers in, what the chat shows of them out, as HTML."""

from collections.abc import Sequence
from html import escape
from typing import Any

from app.page.paragraph import note, trouble
from app.page.visitors import Exchange
from app.page.words import length, moments


def chat_messages(exchanges: Sequence[Exchange]) -> list[dict[str, Any]]:
    """All that is said is text: nothing in it becomes markup."""
    messages: list[dict[str, Any]] = []
    for one in exchanges:
        messages.append({"role": "user", "content": f"<p>{_text(one.question)}</p>"})
        messages.append({"role": "assistant", "content": _answer(one)})
    return messages


def note_of(evidence: Sequence[dict[str, Any]]) -> tuple[str, float | None]:
    """What an answer is founded on, in words; and the confidence of one that is unsure."""
    if not evidence:
        return "", None
    (one, *_) = evidence
    parts = [f"first token after {one['ttft_ms']:.0f} ms", f"{moments(one['moments'])} read"]
    if one["newest_frame_age_s"] is not None:
        age_s = one["newest_frame_age_s"]
        age = f"{age_s:.1f} s" if age_s < 10 else length(age_s)
        parts.append(f"the newest frame was {age} old")
    return " · ".join(parts), one["confidence"] if one["unsure"] else None


def _answer(one: Exchange) -> str:
    said = _text(one.answer)
    if one.is_running:
        said += '<span class="more"> ▍</span>' if said else '<span class="more">thinking …</span>'
    parts = []
    if one.confidence is not None:
        parts.append(f'<span class="unsure">unsure, {one.confidence:.0%}</span> ')
    parts.append(said or ("" if one.is_stopped or one.problem else "(no words)"))
    told = [f'<p class="said">{"".join(parts)}</p>']
    if one.is_stopped:
        told.append(note("stopped"))
    if one.problem:
        told.append(trouble(one.problem))
    if one.pictures:
        told.append(f'<div class="moments">{"".join(one.pictures)}</div>')
    if one.note:
        told.append(note(one.note))
    return "".join(told)


def _text(said: str) -> str:
    """Escaped, also from Markdown."""
    escaped = escape(said)
    for mark in "\\`*_{}[]#|~$":
        escaped = escaped.replace(mark, f"&#{ord(mark)};")
    return escaped.replace("\n", "<br>")
