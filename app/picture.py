"""half_blocks: a JPEG in, a small coloured picture for the terminal out."""

import io

from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text


def half_blocks(jpeg: bytes, columns: int) -> Text:
    """The picture in so many columns; a character shows two pixels, one above the other."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    rows = max(1, round(columns * image.height / image.width / 2))
    pixels = image.resize((columns, 2 * rows), Image.Resampling.BOX).load()
    assert pixels is not None
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = pixels[column, 2 * row], pixels[column, 2 * row + 1]
            style = Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
            text.append("▀", style)
        text.append("\n")
    return text
