"""A chart without Helm: its folder and values over its own in, the documents that it makes out.

It knows what ours uses, and refuses all else: `{{ .Values.a.b }}`, and a range over a map whose
`$name` and `$value.key` stand in its body. `helm template` is the full check, where there is helm.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

_RANGE = re.compile(
    r"\{\{- range \$(\w+), \$(\w+) := \.Values\.([\w.]+) \}\}\n(.*?)\{\{- end \}\}\n", re.DOTALL
)
_VALUE = re.compile(r"\{\{ (\.Values|\$\w+)((?:\.\w+)*) \}\}")


def render(chart: Path, values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Raises KeyError for a value that there is none of, and ValueError for other templates."""
    given = {**yaml.safe_load((chart / "values.yaml").read_text()), **(values or {})}
    documents = []
    for template in sorted((chart / "templates").iterdir()):
        text = _filled_in(template.read_text(encoding="utf-8"), {".Values": given})
        if "{{" in text:
            raise ValueError(f"{template.name}: {text[text.index('{{') :][:40]}")
        documents += [document for document in yaml.safe_load_all(text) if document]
    return documents


def _filled_in(text: str, names: Mapping[str, Any]) -> str:
    def unrolled(found: re.Match[str]) -> str:
        name, value, path, body = found.groups()
        items = sorted(_at(names[".Values"], path).items())
        return "".join(_filled_in(body, {f"${name}": k, f"${value}": v}) for k, v in items)

    def value_of(found: re.Match[str]) -> str:
        return str(_at(names[found[1]], found[2].strip("."))) if found[1] in names else found[0]

    return _VALUE.sub(value_of, _RANGE.sub(unrolled, text))


def _at(value: Any, path: str) -> Any:
    for key in filter(None, path.split(".")):
        value = value[key]
    return value
