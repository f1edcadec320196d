"""What was called a watch before 0.3: by that name it works until then, and names the new one."""

import json

import pytest
from followed import Followed
from loopback_http import loopback_http
from one_thing import thing_jpeg
from processes import until
from service import running_service

import vstream
from app.server.settings import load_settings
from vstream.errors import SettingsError

FIRES = {
    "stream_ids": ["door"],
    "condition": "tell me when there is an owl",
    "threshold": 0,
    "confirmations": 1,
}


@pytest.fixture(scope="module")
def service():
    with running_service(allow_private=True) as running:
        running.post("/v1/streams", {"id": "door", "source": {"type": "push"}})
        yield running


def push(service):
    service.http.post("/v1/streams/door/frames", content=thing_jpeg("owl"))


def test_what_listens_by_the_old_name_is_told_as_before(service):
    everything, old, new = (
        Followed("GET", f"{service.url}/v1/events{query}")
        for query in ("", "?kind=watch.fired", "?kind=alert.fired")
    )
    with loopback_http(lambda request: (204, {}, b"")) as receiver:
        hook = [{"type": "webhook", "url": f"{receiver.url}/hook"}]
        by_old = service.post("/v1/watches", {**FIRES, "actions": hook})
        by_new = service.post("/v1/alerts", {**FIRES, "actions": hook})
        push(service)
        until(lambda: len(receiver.requests) == 2 and len(new.data) == 2)
        until(lambda: len(everything.events("alert.fired")) == 2)
    posted = {one["type"]: one["data"] for one in (json.loads(r.body) for r in receiver.requests)}
    assert posted["watch.fired"]["watch_id"] == by_old["id"]
    assert posted["watch.fired"]["alert_id"] == by_old["id"]
    assert posted["alert.fired"]["alert_id"] == by_new["id"]
    assert "watch_id" not in posted["alert.fired"]
    assert [one["data"]["watch_id"] for one in old.events("watch.fired")] == [by_old["id"]]
    assert len(old.data) == 1
    (twin,) = everything.events("watch.fired")
    assert twin["id"] in [one["id"] for one in everything.events("alert.fired")]
    assert service.figure("vstream_watch_fired_total", stream_id="door") == 2
    assert service.figure("vstream_alert_fired_total", stream_id="door") == 2


def test_the_old_address_leads_to_the_same_and_names_the_new_one(service):
    made = service.post("/v1/watches", FIRES)
    path = f"/v1/watches/{made['id']}"
    told = service.http.get(path)
    assert told.json()["object"] == "watch"
    assert "successor-version" in told.headers["Link"]
    assert "</v1/alerts>" in told.headers["Link"]
    assert told.headers["Deprecation"].startswith("@")
    assert made["id"] in [one["id"] for one in service.get("/v1/watches")["data"]]
    alert = service.get(f"/v1/alerts/{made['id']}")
    assert (alert["object"], alert["told_as"]) == ("alert", "watch")
    assert service.http.patch(path, json={"cooldown_s": 9}).json()["cooldown_s"] == 9
    moved = service.http.patch(f"/v1/alerts/{made['id']}", json={"told_as": "alert"}).json()
    assert moved["told_as"] == "alert"
    assert service.http.delete(path).json() == {
        "id": made["id"],
        "object": "watch",
        "deleted": True,
    }
    assert "/v1/watches" not in service.get("/openapi.json")["paths"]
    assert "Deprecation" not in service.http.get("/v1/alerts").headers


def test_settings_by_the_old_names(tmp_path, capsys, monkeypatch):
    file = tmp_path / "vstream.yaml"
    file.write_text("watches: [{id: cat, stream_ids: [door], condition: a cat}]")
    monkeypatch.setenv("VSTREAM_SERVICE__MAX_WATCHES", "7")
    settings = load_settings(file)
    (cat,) = settings.alerts
    assert (cat.id, cat.told_as) == ("cat", "watch")
    assert settings.service.max_alerts == 7
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "watches is now called alerts; the old name works until 0.3",
        "service.max_watches is now called service.max_alerts; the old name works until 0.3",
    ]
    file.write_text("alerts: [{id: cat, stream_ids: [door], condition: a cat}]")
    monkeypatch.delenv("VSTREAM_SERVICE__MAX_WATCHES")
    assert load_settings(file).alerts[0].told_as == "alert"
    assert not capsys.readouterr().err


CAT = "{id: cat, stream_ids: [door], condition: a cat}"


def test_an_empty_list_under_the_new_name_is_one(tmp_path):
    file = tmp_path / "vstream.yaml"
    file.write_text(f"alerts:\nwatches: [{CAT}]")
    assert [one.told_as for one in load_settings(file).alerts] == ["watch"]


@pytest.mark.parametrize("old", ["5", "cat", "[cat]", "[5]", CAT, f"[{CAT}]\nalerts: cat"])
def test_what_makes_no_sense_under_the_old_name_is_refused(tmp_path, old):
    file = tmp_path / "vstream.yaml"
    file.write_text(f"watches: {old}")
    with pytest.raises(SettingsError, match="alerts"):
        load_settings(file)


def test_in_python():
    with pytest.warns(DeprecationWarning, match="Alert"):
        assert vstream.Watch is vstream.Alert
