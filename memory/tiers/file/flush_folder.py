"""flush_folder: a folder in; returns once the names in it would survive a power cut."""

import os
from pathlib import Path


def flush_folder(folder: Path) -> None:
    """New, renamed and unlinked files; not what is in them. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
