"""merged: merge the answers of all workers into one, and name those that are missing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from vstream.times.zone import recap_title

_LIMITS = {"/v1/search": 10, "/v1/firings": 50}
_MOST_FIRINGS = 50
_SUMMED = {"unseen", "marked", "judged", "known", "described", "dropped", "unchecked"}
_SUMMED |= {"fired", "skipped"}
_ORDER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "/v1/streams": lambda one: one["id"],
    "/v1/firings": lambda one: -one["id"],
    "/v1/search": lambda one: -one["score"],
    "/v1/moments": lambda one: (one["stream_id"], one["from_s"]),
    "/v1/recaps": lambda one: (one["from"], one["stream_id"]),
}
"""The order in which one service lists them; anything else is listed by when it was made."""


def merged(
    path: str,
    documents: Sequence[dict[str, Any]],
    missing: Sequence[str],
    limit: int | None,
    zone: ZoneInfo,
) -> dict[str, Any]:
    """Return the merged document. `limit` is the request's, if it has one; `zone` is used for
    streams in different zones.
    """
    whole = _whole(documents)
    if "data" in whole:
        order = _ORDER.get(path, lambda one: one["created_at"])
        found = sorted((part for one in documents for part in one["data"]), key=order)
        if path in ("/v1/streams", "/v1/firings"):  # both workers list what is just moving
            found = list({one["id"]: one for one in found}.values())
        elif path not in _ORDER:  # alerts: each worker knows what came of them on its own streams
            ids = dict.fromkeys(one["id"] for one in found)
            found = [_whole([one for one in found if one["id"] == name]) for name in ids]
        most = limit or _LIMITS.get(path, len(found))
        whole["data"] = found[:most]
        if "has_more" in whole:
            whole["has_more"] = len(found) > most or whole["has_more"]
    if "title" in whole:
        _retitle(whole, documents, zone)
    if "stored" in whole:
        stored = {one for document in documents for one in document["stored"]}
        whole["stored"] = sorted(stored - {one["id"] for one in whole["data"]})
    return {**whole, "incomplete": list(missing)} if missing else whole


def _whole(documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge several documents about the same thing, field by field."""
    whole: dict[str, Any] = {}
    for name in documents[0]:
        values = [one[name] for one in documents if one[name] is not None]
        first = whole[name] = values[0] if values else None
        if name == "firings":
            found = {one["id"]: one for value in values for one in value}
            whole[name] = sorted(found.values(), key=lambda one: -one["id"])[:_MOST_FIRINGS]
        elif isinstance(first, dict):
            whole[name] = {key: part for one in values for key, part in one.items()}
        elif name in _SUMMED:
            whole[name] = sum(values)
        elif isinstance(first, bool | float):
            whole[name] = max(values)
    return whole


def _retitle(recap: dict[str, Any], documents: Sequence[dict[str, Any]], zone: ZoneInfo) -> None:
    """Have a merged recap cover the time from its first stretch to the end of its last."""
    begins = [at for one in documents if (at := one["begins_at"]) is not None]
    recap["begins_at"] = min(begins, default=None)
    zones = {one["timezone"] for one in documents}
    if len(zones) > 1:
        recap["timezone"] = zone.key
    between = recap["begins_at"], recap["ends_at"], ZoneInfo(recap["timezone"])
    recap["title"] = recap_title(len(recap["data"]), sorted(recap["coverage"]), *between)


class _Labelled:
    """Collects the metrics of all workers, each labelled with its worker."""

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
