"""notebook: a text and JPEGs in, the HTML that a notebook shows out."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

_MOST = 12
"""Pictures in one cell: each has some 10 kB."""
_FIGURE = (
    '<figure style="display:inline-block;margin:4px"><img width="160" alt="{under}" src="{url}">'
    "<figcaption>{under}</figcaption></figure>"
)


def shown(text: str, pictures: Sequence[tuple[bytes, str]]) -> str:
    """The text, then the first pictures, each with the words under it. All words are escaped."""
    figures = [
        _FIGURE.format(under=escape(under), url=jpeg_url(jpeg))
        for jpeg, under in pictures[:_MOST]
        if jpeg
    ]
    left = len(pictures) - _MOST
    more = f"<p>and {left} more</p>" if left > 0 else ""
    return f"<p>{escape(text)}</p>{''.join(figures)}{more}"


def jpeg_url(jpeg: bytes) -> str:
    """What an <img> takes: the picture itself, so that it needs no second request."""
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
