"""merged: what each worker answers in, the answer of all out, and who is missing in it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

_SUMMED = ("unseen", "marked", "judged", "known", "described", "dropped", "unchecked")
_LIMITS = {"/v1/search": 10, "/v1/firings": 50, "/v1/answers": 50}
_JOINED = ("coverage", "strange")


def merged(
    path: str, replies: Mapping[str, Any], missing: Sequence[str], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """`replies` are documents by worker; `wanted` is what was asked, as `limit`."""
    documents = list(replies.values())
    whole: dict[str, Any] = {**documents[0]} if documents else {"object": "list", "data": []}
    for name in _SUMMED:
        if name in whole:
            whole[name] = sum(one[name] for one in documents)
    for name in _JOINED:
        if name in whole:
            whole[name] = {key: part for one in documents for key, part in one[name].items()}
    if "seconds" in whole:
        whole["seconds"] = max(one["seconds"] for one in documents)
    if "data" in whole:
        wanted = {"limit": _LIMITS[path], **wanted} if path in _LIMITS else wanted
        found = [one for document in documents for one in document["data"]]
        whole["data"] = _ordered(path, found)
        if "limit" in wanted:
            limit = int(wanted["limit"])
            whole["data"] = whole["data"][:limit]
            if "has_more" in whole:
                whole["has_more"] = len(found) > limit or any(one["has_more"] for one in documents)
    if "stored" in whole:
        watched = {one["id"] for one in whole["data"]}
        whole["stored"] = sorted({id for one in documents for id in one["stored"]} - watched)
    if missing:
        whole["incomplete"] = list(missing)
    return whole


def _ordered(path: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As one service would have them."""
    if path == "/v1/streams":
        return sorted(found, key=lambda one: str(one["id"]))
    if path in ("/v1/firings", "/v1/answers"):
        return sorted(found, key=lambda one: int(one["id"]), reverse=True)
    if path == "/v1/search":
        return sorted(found, key=lambda one: float(one["score"]), reverse=True)
    if path == "/v1/moments":
        return sorted(found, key=lambda one: (str(one["stream_id"]), float(one["from_s"])))
    if path == "/v1/recaps":
        return sorted(found, key=lambda one: (str(one["from"]), str(one["stream_id"])))
    by_id = {one["id"]: one for one in reversed(found)}  # of one alert each worker has its streams
    return sorted(by_id.values(), key=lambda one: (one["created_at"], str(one["id"])))


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
    return generate_latest(_Labelled(texts))  # type: ignore[arg-type]
