"""read_items reads the published annotations in a data directory, or says what is missing by name.

Nothing is downloaded: most sets may be had only on terms that a person has to agree to.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from eval.question_sets.items import Item
from vstream import SettingsError

_NAMED = 10
"""So many missing files are named; the rest are counted."""

T = TypeVar("T")
Reader = Callable[[int, Any], Iterable[T]]
"""From an entry, with its number in the file."""


def read_items(
    data_dir: Path,
    published: str,
    files: Mapping[str, Reader[T]],
) -> list[T]:
    """What the readers make of each file's entries. `published` says where the set can be had.

    Raises SettingsError that names every file that is not there, or the entry that is malformed.
    """
    require_files(data_dir, files, published)
    return [
        one
        for file, read in files.items()
        for entries in _read_entries(file, _document(data_dir / file), read)
        for one in entries
    ]


def of_tasks(items: Sequence[Item], tasks: Collection[str]) -> list[Item]:
    """Those of the tasks, else all."""
    return [item for item in items if not tasks or item.task in tasks]


def require_files(data_dir: Path, files: Iterable[str], published: str) -> None:
    """Raises SettingsError that names the files that are not there."""
    missing = [file for file in files if not (data_dir / file).exists()]
    if missing:
        named = ", ".join(missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise SettingsError(
            f"data: {data_dir} lacks {named}{more}; published at {published}; "
            "nothing is downloaded for you"
        )


def require_videos(data_dir: Path, items: Iterable[Item], published: str) -> None:
    """Raises SettingsError that names the videos that are not there."""
    require_files(data_dir, dict.fromkeys(item.video for item in items), published)


def require_tasks(tasks: Collection[str], known: Sequence[str]) -> None:
    """Raises SettingsError if a task is unknown."""
    for task in tasks:
        if task not in known:
            raise SettingsError(f"task: there is no {task!r}; choose of {', '.join(known)}")


def read_json_lines(path: Path) -> list[Any]:
    """Raises SettingsError that names the line that is not JSON."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parsed(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def clock_s(text: str) -> int:
    """Seconds of "HH:MM:SS" or "MM:SS"."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def video_in(folder: str, path: str) -> str:
    """`path` after the last `folder`: "data/rvs/ego/videos/a.mp4" in "rvs" is ego/videos/a.mp4."""
    parts = PurePosixPath(path).parts
    if folder in parts:
        parts = parts[len(parts) - parts[::-1].index(folder) :]
    return str(PurePosixPath(*parts))


def _read_entries(file: str, entries: object, read: Reader[T]) -> list[list[T]]:
    """What an entry lacks becomes a SettingsError that names it."""
    if not isinstance(entries, list):
        raise SettingsError(f"data: {file} is not a list of entries as published")
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(list(read(number, entry)))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SettingsError(
                f"data: {file}, entry {number} is not as published ({error!r})"
            ) from error
    return found


def _document(path: Path) -> Any:
    if path.suffix == ".jsonl":
        return read_json_lines(path)
    return _parsed(path.read_text(encoding="utf-8"), str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"data: {where} is not JSON ({error})") from error
