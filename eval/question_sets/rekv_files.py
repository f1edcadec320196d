"""video_in: a path as ReKV's annotations give it in, the same within the data directory out."""

from pathlib import PurePosixPath


def video_in(folder: str, path: str) -> str:
    """`path` after the last `folder`: "data/rvs/ego/videos/a.mp4" in "rvs" is ego/videos/a.mp4."""
    parts = PurePosixPath(path).parts
    if folder in parts:
        parts = parts[len(parts) - parts[::-1].index(folder) :]
    return str(PurePosixPath(*parts))
