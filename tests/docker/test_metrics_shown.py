"""The Grafana board and the alerts: they ask for metrics that exist, by labels that those have."""

import json
import re
from pathlib import Path

import pytest
import yaml

DOCKER = Path(__file__).parents[2] / "docker"
BOARD = json.loads((DOCKER / "grafana" / "boards" / "vstream.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
ALERTS = yaml.safe_load((DOCKER / "alerts.yml").read_text(encoding="utf-8"))
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [rule["expr"] for rule in RULES]

STREAM = {"stream_id"}
METRICS = {
    "vstream_stream_up": ("gauge", STREAM),
    "vstream_stream_state": ("gauge", STREAM | {"state"}),
    "vstream_stream_last_frame_age_seconds": ("gauge", STREAM),
    "vstream_stream_frames_total": ("counter", STREAM | {"stage"}),
    "vstream_stream_frames_dropped_total": ("counter", STREAM | {"reason"}),
    "vstream_stream_reconnects_total": ("counter", STREAM),
    "vstream_stream_errors_total": ("counter", STREAM | {"code"}),
    "vstream_capture_to_memory_seconds": ("histogram", STREAM),
    "vstream_memory_bytes": ("gauge", STREAM | {"tier"}),
    "vstream_memory_blocks": ("gauge", STREAM),
    "vstream_memory_waiting_blocks": ("gauge", STREAM),
    "vstream_store_up": ("gauge", set()),
    "vstream_num_requests_running": ("gauge", set()),
    "vstream_num_requests_waiting": ("gauge", set()),
    "vstream_requests_refused_total": ("counter", {"reason"}),
    "vstream_time_to_first_token_seconds": ("histogram", set()),
    "vstream_e2e_request_latency_seconds": ("histogram", set()),
    "vstream_inter_token_latency_seconds": ("histogram", set()),
    "vstream_generation_tokens_total": ("counter", set()),
    "vstream_request_success_total": ("counter", {"finished_reason"}),
    "vstream_scheduler_round_seconds": ("histogram", set()),
    "vstream_scheduler_batch_size": ("histogram", {"kind"}),
    "vstream_watch_fired_total": ("counter", STREAM),
    "vstream_watch_judgements_total": ("counter", STREAM),
    "vstream_watch_skipped_total": ("counter", STREAM),
    "vstream_webhook_deliveries_total": ("counter", {"outcome"}),
    "vstream_http_requests_total": ("counter", {"method", "route", "status"}),
}
"""Kind and labels of what /metrics has. To be replaced by the service's own registry."""
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus adds."""


def metric_of(series):
    """The metric that a series belongs to: a histogram has three."""
    whole = re.sub(r"_(bucket|sum|count)$", "", series)
    return whole if METRICS.get(whole, ("", ()))[0] == "histogram" else series


def series_of(query):
    return re.findall(r"\bvstream_\w+", query)


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_there_is(query):
    assert series_of(query) or "up{" in query
    labels = set()
    for series in series_of(query):
        metric = metric_of(series)
        assert metric in METRICS
        labels |= METRICS[metric][1]
        assert (metric != series) == (METRICS[metric][0] == "histogram"), "_bucket, _sum or _count"
    grouped = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", query)
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query)
    named = {label.strip() for group in grouped for label in group.split(",")} | set(selected)
    assert named <= labels | SCRAPED


@pytest.mark.parametrize("query", QUERIES)
def test_what_only_grows_is_asked_for_as_a_rate(query):
    for series in series_of(query):
        grows = METRICS[metric_of(series)][0] != "gauge"
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


def test_every_metric_is_on_the_board():
    shown = {
        metric_of(series)
        for panel in PANELS
        for target in panel["targets"]
        for series in series_of(target["expr"])
    }
    assert set(METRICS) - shown == set()


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
