"""half_blocks: a JPEG in, a small coloured picture for the terminal out."""

import io

import numpy as np
from PIL import Image
from rich.color import Color
from rich.style import Style
from rich.text import Text


def half_blocks(jpeg: bytes, columns: int) -> Text:
    """The picture in so many columns; a character shows two pixels, one above the other."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    rows = max(1, round(columns * image.height / image.width / 2))
    pixels = np.asarray(image.resize((columns, 2 * rows), Image.Resampling.BOX)).tolist()
    text = Text(no_wrap=True)
    for row in range(rows):
        for column in range(columns):
            upper, lower = pixels[2 * row][column], pixels[2 * row + 1][column]
            style = Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
            text.append("▀", style)
        text.append("\n")
    return text
