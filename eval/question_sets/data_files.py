"""Reads a set's published annotations and a run's answers, and names what is missing or malformed.

Downloads nothing: most sets require a person to accept their terms.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from eval.question_sets.items import SetItem, Texts
from vstream import SettingsError

_NAMED = 10
"""How many missing files are named; the rest are counted."""

T = TypeVar("T")
Reader = Callable[[int, Any], Iterable[T]]
"""Reads an entry, given its number in the file."""


def read_items(data_dir: Path, published: str, files: Mapping[str, Reader[T]]) -> list[T]:
    """Return what the readers make of each file's entries; `published` says where to get the set.
    Raises SettingsError naming every missing file, or the malformed entry.
    """
    require_files(data_dir, files, published)
    return [
        one for file, read in files.items() for one in _read_entries(data_dir / file, file, read)
    ]


def of_tasks(items: Sequence[SetItem], tasks: Collection[str]) -> list[SetItem]:
    """Return the items of the tasks, or all without tasks."""
    return [item for item in items if not tasks or item.task in tasks]


def require_files(data_dir: Path, files: Iterable[str], published: str) -> None:
    """Raise SettingsError naming the missing files."""
    missing = [file for file in files if not (data_dir / file).exists()]
    if missing:
        named = ", ".join(missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise SettingsError(
            f"data: {data_dir} lacks {named}{more}; published at {published}; "
            "nothing is downloaded for you"
        )


def require_videos(data_dir: Path, items: Iterable[SetItem], published: str) -> None:
    """Raise SettingsError naming the missing videos."""
    require_files(data_dir, dict.fromkeys(item.video for item in items), published)


def require_tasks(tasks: Collection[str], known: Sequence[str]) -> None:
    for task in tasks:
        if task not in known:
            raise SettingsError(f"task: there is no {task!r}; choose of {', '.join(known)}")


def read_json_lines(path: Path) -> list[Any]:
    """Raise SettingsError naming a line that is not JSON."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [_parsed(line, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]


def clock_s(text: str) -> int:
    """Return the seconds of "HH:MM:SS" or "MM:SS"."""
    seconds = 0
    for part in text.split(":"):
        seconds = 60 * seconds + int(part)
    return seconds


def video_in(folder: str, path: str) -> str:
    """Return `path` after the last `folder`: with "rvs", "data/rvs/ego/a.mp4" gives ego/a.mp4."""
    parts = PurePosixPath(path).parts
    if folder in parts:
        parts = parts[len(parts) - parts[::-1].index(folder) :]
    return str(PurePosixPath(*parts))


def _read_entries(path: Path, file: str, read: Reader[T]) -> Iterator[T]:
    """Raise SettingsError naming an entry that lacks something."""
    is_lines = path.suffix == ".jsonl"
    entries = read_json_lines(path) if is_lines else _parsed(path.read_text("utf-8"), str(path))
    if not isinstance(entries, list):
        raise SettingsError(f"data: {file} is not a list of entries as published")
    for number, entry in enumerate(entries):
        try:
            yield from read(number, entry)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise SettingsError(
                f"data: {file}, entry {number} is not as published ({error!r})"
            ) from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"data: {where} is not JSON ({error})") from error


def read_predictions(path: Path) -> dict[str, Texts]:
    """Read a finished run's answers: JSON lines with the texts of each item by its id.

    A line is {"id": ..., "texts": [...]}, the texts in the order they were said, or {"id": ...,
    "answer": ...} for one text; other keys are ignored. A text may be null. A list of one text, as
    some runs store decoded output, counts as that text, and a number as its digits.

    Raises SettingsError naming what is not a prediction, or an id that appears twice.
    """
    if not path.exists():
        raise SettingsError(f"predictions: there is no {path}")
    found: dict[str, Texts] = {}
    for number, document in enumerate(read_json_lines(path), 1):
        where = f"predictions: {path}, prediction {number}"
        if not isinstance(document, dict) or "id" not in document:
            raise SettingsError(f'{where} has no "id"')
        name = str(document["id"])
        if name in found:
            raise SettingsError(f"{where}: {name} is answered twice")
        found[name] = _texts(document, where)
    return found


def _texts(document: dict[str, object], where: str) -> Texts:
    if not {"texts", "answer"} & document.keys():
        raise SettingsError(f'{where} has neither "texts" nor "answer"')
    texts = document["texts"] if "texts" in document else [document["answer"]]
    if not isinstance(texts, list):
        raise SettingsError(f'{where}: "texts" is not a list')
    return tuple(_text(text, where) for text in texts)


def _text(value: object, where: str) -> str | None:
    if isinstance(value, list) and len(value) <= 1:
        return _text(value[0], where) if value else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{where}: {value!r} is not a text")
