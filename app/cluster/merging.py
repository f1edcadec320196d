"""merged: what each worker answers in, the answer of all out, and who is missing in it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

_LIMITS = {"/v1/search": 10, "/v1/firings": 50}
_SUMMED = ("unseen", "marked", "judged", "known", "described", "dropped", "unchecked")
_ORDER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "/v1/streams": lambda one: one["id"],
    "/v1/firings": lambda one: -one["id"],
    "/v1/search": lambda one: -one["score"],
    "/v1/moments": lambda one: (one["stream_id"], one["from_s"]),
    "/v1/recaps": lambda one: (one["from"], one["stream_id"]),
}
"""As one service has them; what is not here by when it was made."""


def merged(
    path: str, documents: Sequence[dict[str, Any]], missing: Sequence[str], limit: int | None
) -> dict[str, Any]:
    """`limit` is what was asked for, of what has any."""
    whole: dict[str, Any] = {}
    for name, value in documents[0].items():
        values = [one[name] for one in documents]
        whole[name] = value
        if isinstance(value, dict):
            whole[name] = {key: part for one in values for key, part in one.items()}
        elif name in _SUMMED:
            whole[name] = sum(values)
        elif isinstance(value, bool | float):
            whole[name] = max(values)
    if "data" in whole:
        order = _ORDER.get(path, lambda one: one["created_at"])
        found = sorted((part for one in documents for part in one["data"]), key=order)
        if path not in _ORDER:  # of one alert each of its workers has some streams
            found = list({one["id"]: one for one in found}.values())
        most = limit or _LIMITS.get(path, len(found))
        whole["data"] = found[:most]
        if "has_more" in whole:
            whole["has_more"] = len(found) > most or whole["has_more"]
    if "stored" in whole:
        stored = {one for document in documents for one in document["stored"]}
        whole["stored"] = sorted(stored - {one["id"] for one in whole["data"]})
    return {**whole, "incomplete": list(missing)} if missing else whole


class _Labelled:
    """The figures of all workers, each with its label."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        found: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                whole = found.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    labels = {**sample.labels, "worker": worker}
                    whole.samples.append(sample._replace(labels=labels))
        yield from found.values()


def merged_metrics(texts: Mapping[str, str]) -> bytes:
    return generate_latest(_Labelled(texts))
