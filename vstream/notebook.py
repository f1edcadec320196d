"""notebook: write the HTML in which a notebook shows a text and its pictures."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

_MOST = 12
"""Most pictures in one cell, of about 10 kB each."""
_FIGURE = (
    '<figure style="display:inline-block;margin:4px"><img width="160" alt="{under}" src="{url}">'
    "<figcaption>{under}</figcaption></figure>"
)


def shown(text: str, pictures: Sequence[tuple[bytes, str]]) -> str:
    """Return the text and the first pictures, each above its caption. Escapes all words."""
    figures = [
        _FIGURE.format(under=escape(under), url=jpeg_url(jpeg))
        for jpeg, under in pictures[:_MOST]
        if jpeg
    ]
    left = len(pictures) - _MOST
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f"<p>{escape(text)}</p>{''.join(figures)}{more}"


def jpeg_url(jpeg: bytes) -> str:
    """Return a data URL for an <img>, which saves a second request."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
