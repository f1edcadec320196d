"""Sheets: the icon sets' SVG drawings in, the sprite sheets of the assets folder out.

Run once by hand when names or styles change; nothing imports this module. It needs two packages
that the project does not depend on, and the icon sets as npm packages (versions: `icons.json`):

    pip install resvg-py imagequant
    npm install @iconify-json/{fluent-emoji-flat,noto,twemoji,noto-v1,emojione}
    python -m eval.stream_world.sheets --icons node_modules/@iconify-json \
        --out eval/stream_world/assets

Each style has two sheets. `STYLE.png` holds the core names; models were trained on these very
pixels, so one that already exists is never drawn again. `STYLE-more.png` holds the further names
in a palette of 256 colours, a quarter of the bytes.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

COLUMNS = 12
MARGIN_PX = 1
OVERSAMPLING = 4
"""Drawings are rasterised this much larger and scaled down with their empty borders cut off."""
FAINTEST_ALPHA = 8
"""What is more transparent counts as empty border."""


def main(
    icons: Annotated[Path, typer.Option(help="Folder with one folder per icon set.")],
    out: Annotated[Path, typer.Option(help="Assets folder: sprites.json and icons.json in.")],
) -> None:
    """Draw the sprite sheets of all styles; core sheets that exist are kept."""
    index = _read_json(out / "sprites.json")
    table = _read_json(out / "icons.json")
    tile_px, num_core = index["tile_px"], index["num_core"]
    for style, icon_set in table["sets"].items():
        ids = {**table["icons"], **icon_set["instead"]}
        drawings = _read_json(icons / icon_set["package"] / "icons.json")
        tiles = [draw_tile(svg(drawings, ids[name]), tile_px) for name in index["emoji"]]
        if not (out / f"{style}.png").exists():
            lay_out(tiles[:num_core]).save(out / f"{style}.png", optimize=True)
        more = _with_palette(lay_out(tiles[num_core:]))
        more.save(out / f"{style}-more.png", optimize=True)


def svg(drawings: Mapping[str, Any], icon_id: str) -> str:
    """One icon of an iconify set as a whole SVG document; `KeyError` if the set lacks it."""
    while icon_id in drawings.get("aliases", {}):
        icon_id = drawings["aliases"][icon_id]["parent"]
    icon = drawings["icons"][icon_id]
    left, top, width, height = (
        icon.get(key, drawings.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">'
        f"{icon['body']}</svg>"
    )


def draw_tile(document: str, tile_px: int) -> Image.Image:
    """The drawing without empty borders, as large as fits in the margins, centred; RGBA."""
    rasterise = import_module("resvg_py").svg_to_bytes
    side_px = tile_px * OVERSAMPLING
    png = bytes(rasterise(svg_string=document, width=side_px, height=side_px))
    drawing = Image.open(BytesIO(png)).convert("RGBA")
    is_drawn = drawing.getchannel("A").point(lambda alpha: 255 * (alpha > FAINTEST_ALPHA))
    drawing = drawing.crop(is_drawn.getbbox())
    scale = (tile_px - 2 * MARGIN_PX) / max(drawing.size)
    size = (max(1, round(drawing.width * scale)), max(1, round(drawing.height * scale)))
    # Scaled with premultiplied alpha ("RGBa"): no dark seams from transparent pixels.
    drawing = drawing.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    tile = Image.new("RGBA", (tile_px, tile_px))
    tile.paste(drawing, ((tile_px - drawing.width) // 2, (tile_px - drawing.height) // 2))
    return tile


def lay_out(tiles: Sequence[Image.Image]) -> Image.Image:
    """Square tiles of one size as a sheet, row by row."""
    tile_px = tiles[0].width
    num_rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * tile_px, num_rows * tile_px))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        sheet.paste(tile, (column * tile_px, row * tile_px))
    return sheet


def _with_palette(sheet: Image.Image) -> Image.Image:
    quantize = import_module("imagequant").quantize_pil_image
    reduced = quantize(sheet, dithering_level=0.0, max_colors=256)
    assert isinstance(reduced, Image.Image)
    return reduced


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


if __name__ == "__main__":
    typer.run(main)
