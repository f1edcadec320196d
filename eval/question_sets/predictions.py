"""read_predictions reads a run's answers: JSON lines, with the texts of each item by its id.

A line is {"id": ..., "texts": [...]}, the texts in the order in which they were said, or
{"id": ..., "answer": ...} for one text; other keys do not matter. A text may be null. A list of one
text, as some runs keep what they decode, is that text, and a number is its digits.
"""

from pathlib import Path

from eval.question_sets.data_files import read_json_lines
from eval.question_sets.items import Texts
from vstream import SettingsError


def read_predictions(path: Path) -> dict[str, Texts]:
    """Raises SettingsError that names what is not a prediction, or an id that stands twice."""
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
    if "texts" in document:
        texts = document["texts"]
        if not isinstance(texts, list):
            raise SettingsError(f'{where}: "texts" is not a list')
        return tuple(_text(text, where) for text in texts)
    if "answer" in document:
        return (_text(document["answer"], where),)
    raise SettingsError(f'{where} has neither "texts" nor "answer"')


def _text(value: object, where: str) -> str | None:
    if isinstance(value, list) and len(value) <= 1:
        return _text(value[0], where) if value else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise SettingsError(f"{where}: {value!r} is not a text")
