"""write_whole: a path and a text in, the file written in one step: old or new, never a part."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write beside it, then put it in its place."""
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
