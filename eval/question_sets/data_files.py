"""Data files: a data directory in, its published annotations out, or what is missing by name.

Nothing is downloaded: most sets may be had only on terms that a person has to agree to.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eval.question_sets.benchmark import Item
from vstream import SettingsError

_NAMED = 10
"""So many missing files are named; the rest are counted."""

T = TypeVar("T")


def read_annotations(data_dir: Path, files: Sequence[str], published: str) -> list[Any]:
    """The JSON documents of the files. `published` says where the set can be had.

    Raises SettingsError that names every file that is not there.
    """
    require_files(data_dir, files, published)
    return [_document(data_dir / file) for file in files]


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


def read_json_lines(path: Path) -> list[Any]:
    """Raises SettingsError that names the line that is not JSON."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parsed(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def read_entries(file: str, entries: object, read: Callable[[int, Any], T]) -> list[T]:
    """`read(number, entry)` of each; what an entry lacks becomes a SettingsError that names it."""
    if not isinstance(entries, list):
        raise SettingsError(f"data: {file} is not a list of entries as published")
    found = []
    for number, entry in enumerate(entries):
        try:
            found.append(read(number, entry))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SettingsError(
                f"data: {file}, entry {number} is not as published ({error!r})"
            ) from error
    return found


def require_tasks(tasks: Collection[str], known: Sequence[str]) -> None:
    """Raises SettingsError if a task is unknown."""
    for task in tasks:
        if task not in known:
            raise SettingsError(f"task: there is no {task!r}; choose of {', '.join(known)}")


def wanted(items: Iterable[Item], tasks: Collection[str]) -> Iterator[Item]:
    """Those of the tasks, else all."""
    return (item for item in items if not tasks or item.task in tasks)


def clock_s(text: str) -> int:
    """Seconds of "HH:MM:SS" or "MM:SS"."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def _document(path: Path) -> Any:
    return _parsed(path.read_text(encoding="utf-8"), str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"data: {where} is not JSON ({error})") from error
