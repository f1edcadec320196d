"""set_aside: a damaged file in; it is kept under another name, where nothing reads it."""

from itertools import count
from pathlib import Path

from memory.tiers.file.flush_folder import flush_folder


def set_aside(path: Path) -> Path:
    """Its new name, which ends in `.damaged`. Raises OSError."""
    names = (f"{path.name}{'' if n == 1 else f'.{n}'}.damaged" for n in count(1))
    aside = next(new for name in names if not (new := path.with_name(name)).exists())
    path.rename(aside)
    flush_folder(path.parent)
    return aside
