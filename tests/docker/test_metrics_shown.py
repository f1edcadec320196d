"""The Grafana board and the alerts: they ask for metrics that exist, by labels that those have."""

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image
from rtsp_camera import free_port
from service import running_service

DOCKER = Path(__file__).parents[2] / "docker"
BOARD = json.loads((DOCKER / "grafana" / "boards" / "vstream.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
ALERTS = yaml.safe_load((DOCKER / "alerts.yml").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [rule["expr"] for rule in RULES]

SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus adds."""


def metric_of(series, metrics):
    """The metric that a series belongs to: a histogram has three."""
    whole = re.sub(r"_(bucket|sum|count)$", "", series)
    return whole if metrics.get(whole, ("", ()))[0] == "histogram" else series


def series_of(query):
    return re.findall(r"\bvstream_\w+", query)


@pytest.fixture(scope="module")
def metrics():
    """Kind and labels of what /metrics has, by name: of a service that has done a little of all."""
    with running_service(max_waiting=0, allow_private=True) as service:
        dead = {"id": "dead", "source": {"url": f"rtsp://127.0.0.1:{free_port()}/1"}}
        service.post("/v1/streams", dead)
        service.await_stream("dead", lambda told: told["error"])
        service.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        alert = {"stream_ids": ["door"], "condition": "tell me when a cat is there"}
        service.post("/v1/alerts", alert)
        picture = io.BytesIO()
        Image.new("RGB", (64, 64)).save(picture, "JPEG")
        push = {"content": picture.getvalue(), "headers": {"content-type": "image/jpeg"}}
        assert service.http.post("/v1/streams/door/frames", **push).is_success
        service.await_stream("door", lambda told: told["memory"]["blocks"] == 1)
        found = {}
        for collector in service.service.metrics.registry._collector_to_names:
            for family in getattr(collector, "describe", list)():
                found[_name(family)] = (family.type, set(getattr(collector, "_labelnames", ())))
        for family in service.service.metrics.registry.collect():
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            kind, known = found.get(_name(family), (family.type, set()))
            found[_name(family)] = (kind, known | labels)
    return found


def _name(family):
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_there_is(query, metrics):
    assert series_of(query) or "up{" in query
    labels = set()
    for series in series_of(query):
        metric = metric_of(series, metrics)
        assert metric in metrics
        labels |= metrics[metric][1]
        assert (metric != series) == (metrics[metric][0] == "histogram"), "_bucket, _sum or _count"
    grouped = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", query)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    named = {label.strip() for group in grouped for label in group.split(",")} | set(selected)
    assert named <= labels | SCRAPED


@pytest.mark.parametrize("query", QUERIES)
def test_what_only_grows_is_asked_for_as_a_rate(query, metrics):
    for series in series_of(query):
        grows = metrics[metric_of(series, metrics)][0] != "gauge"
        rated = re.search(rf"\b(?:rate|increase)\({series}(?:{{[^}}]*}})?\[[^]]+\]\)", query)
        assert grows == bool(rated), series
    if "histogram_quantile" in query:
        assert re.search(r"by \(le\b", query)
        assert "_bucket" in query


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_legend_names_labels_that_the_query_keeps(panel):
    for target in panel["targets"]:
        for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
            kept = re.findall(r"\bby \(([^)]*)\)", target["expr"])
            assert kept
            assert label in re.split(r",\s*", kept[0])


def test_every_metric_is_on_the_board(metrics):
    """But for what a process is always told of, and names of before."""
    shown = {
        metric_of(series, metrics)
        for panel in PANELS
        for target in panel["targets"]
        for series in series_of(target["expr"])
    }
    others = {name for name in metrics if name.startswith(("vstream_process_", "vstream_watch_"))}
    assert set(metrics) - shown - others == {"vstream_up", "vstream_events_missed_total"}


def test_the_panels_lie_on_the_grid_and_side_by_side():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_the_board_finds_its_source_and_grafana_finds_the_board():
    provisioning = DOCKER / "grafana" / "provisioning"
    (source,) = yaml.safe_load(
        (provisioning / "datasources" / "prometheus.yml").read_text(encoding="utf-8")
    )["datasources"]
    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert {variable["datasource"]["uid"] for variable in BOARD["templating"]["list"]} == {
        source["uid"]
    }
    (provider,) = yaml.safe_load(
        (provisioning / "dashboards" / "boards.yml").read_text(encoding="utf-8")
    )["providers"]
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    grafana = compose["services"]["grafana"]
    folder = provider["options"]["path"]
    assert f"./grafana/boards:{folder}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/vstream.json"
    assert source["url"] == "http://prometheus:9090"


@pytest.mark.parametrize(
    "alert", ["CameraDown", "CameraFrozen", "StoreDown", "AnswersBeginLate", "VStreamDown"]
)
def test_there_is_an_alert(alert):
    (rule,) = [rule for rule in RULES if rule["alert"] == alert]
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["annotations"]["summary"]


def test_prometheus_reads_the_alerts():
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    (rules,) = config["rule_files"]
    assert f"./alerts.yml:{rules}:ro" in compose["services"]["prometheus"]["volumes"]
