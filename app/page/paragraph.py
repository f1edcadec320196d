"""Paragraph: plain text in, what the page shows of it out: a note, or what went wrong."""

from html import escape


def note(text: str) -> str:
    """Said by the way."""
    return f'<p class="note">{escape(text)}</p>'


def trouble(problem: object) -> str:
    """Said so that it is seen."""
    return f'<p class="trouble">{escape(str(problem))}</p>'
