"""`vstream mqtt` between a live service and a real broker, as a subscriber sees it."""

import asyncio
import json
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from mqtt_broker import PASSWORD, MosquittoBroker, Subscriber, mosquitto_binary
from near_workers import near_cluster
from one_thing import thing_jpeg
from processes import Process, until
from service import embedded, running_service

from app import mqtt_bridge
from app.mqtt_bridge import Broker, MqttBridge
from app.mqtt_topics import Names
from app.server.keys import ScopedKey, new_key
from vstream.errors import SettingsError

FIXTURE = Path(__file__).parents[1] / "data" / "homeassistant_discovery.json"
RULES = json.loads(FIXTURE.read_text("utf-8"))
MASTER = "a-master-key-of-the-tests"
READER, READER_HASH = new_key()
OWL = {"condition": "tell me when there is an owl", "confirmations": 1, "cooldown_s": 0}
DOOR = "homeassistant/device/vstream_door/config"


@pytest.fixture
def broker(tmp_path):
    if mosquitto_binary() is None:
        pytest.skip("no mosquitto on PATH: apt-get install mosquitto")
    running = MosquittoBroker(tmp_path)
    yield running
    running.thaw()
    running.kill()


@pytest.fixture
def subscriber(broker):
    with Subscriber(broker) as listening:
        yield listening


@contextmanager
def serving(store="memory://"):
    reader = ScopedKey(name="reader", hash=READER_HASH, can={"read"})
    model = {"model": embedded(), "store": store}
    with running_service(key=MASTER, scoped=[reader], **model) as running:
        running.http.headers["Authorization"] = f"Bearer {MASTER}"
        yield running


@pytest.fixture
def service():
    with serving() as running:
        add(running, "door")
        yield running


@contextmanager
def bridged(service, broker, key=MASTER, picture_s=0.2):
    """The bridge, in a thread of its own."""
    ends = {}

    async def run():
        ends["loop"], ends["task"] = asyncio.get_running_loop(), asyncio.current_task()
        bridge = MqttBridge(
            service.url, key, Broker.parse(broker.url, PASSWORD), Names(), picture_s
        )
        ends["bridge"] = bridge
        await bridge.run()

    def run_to_end():
        try:
            asyncio.run(run())
        except asyncio.CancelledError:
            ends["cancelled"] = True

    thread = threading.Thread(target=run_to_end, daemon=True)
    thread.start()
    until(lambda: "bridge" in ends, 20)
    try:
        yield ends["bridge"]
    finally:
        ends["loop"].call_soon_threadsafe(ends["task"].cancel)
        thread.join(30)
    assert ends.get("cancelled"), "it ended by itself"


def add(service, name):
    spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
    service.post("/v1/streams", {"id": name, **spec})


def show(service, name, thing, part=0.5):
    """One second after the last, judged by all alerts on the stream."""
    before = service.get(f"/v1/streams/{name}")["memory"]["blocks"]
    judged = [(alert, alert.num_judged) for alert in service.alerts_on(name)]
    path = f"/v1/streams/{name}/frames"
    headers = {"X-Capture-Time": str(1.7e9 + before)}
    jpeg = thing_jpeg(thing, part)
    service.http.post(path, content=jpeg, headers=headers).raise_for_status()
    service.await_stream(name, lambda told: told["memory"]["blocks"] > before)
    until(lambda: all(alert.num_judged > num for alert, num in judged), 60)


def add_alert(service, *names):
    return service.post("/v1/alerts", {"stream_ids": names, **OWL})["id"]


def check_as_home_assistant(config):
    """Each key is known, and what must be there is."""
    device_based, common = RULES["device_based"], RULES["common_keys"]
    root = {*device_based["required"], *RULES["common_keys"]}
    assert set(config) <= root
    assert set(device_based["required"]) <= set(config)
    assert config["device"]["identifiers"]
    assert set(config["device"]) <= set(RULES["device"])
    assert set(config["origin"]) <= set(RULES["origin"])
    assert config["origin"]["name"]
    ids = [one["unique_id"] for one in config["components"].values()]
    assert len(set(ids)) == len(ids)
    for component in config["components"].values():
        kind = component["platform"]
        rules = RULES["components"][kind]
        assert kind in RULES["topics"]["supported_components"]
        one_of = rules.get("required_one_of", {})
        required, optional = rules.get("required", {}), rules.get("optional", {})
        assert set(required) <= set(component)
        assert not one_of or len(set(one_of) & set(component)) == 1
        known = {"platform", *required, *one_of, *optional, *common}
        assert set(component) <= known


def test_home_assistant_finds_a_stream_and_its_alerts(service, broker, subscriber):
    add(service, "back.yard")
    alert = add_alert(service, "door")
    on_all = add_alert(service, "*")
    with bridged(service, broker):
        subscriber.await_held("vstream/status", lambda told: told == b"online")
        door, yard = (
            json.loads(subscriber.held[f"homeassistant/device/vstream_{name}/config"])
            for name in ("door", "back_2eyard")
        )
        show(service, "door", "owl")
        of_alert = f"vstream/door/alerts/{alert}"
        subscriber.await_held(f"{of_alert}/state", lambda told: told == b"ON")
        attributes = subscriber.await_held(
            f"{of_alert}/attributes", lambda told: json.loads(told)["sentence"] is not None
        )
        picture = subscriber.await_held("vstream/door/picture")
        topics = {
            value
            for component in door["components"].values()
            for name, value in component.items()
            if name.endswith("topic") and name != "command_topic"
        }
        until(lambda: topics <= set(subscriber.held), 60)
    for config in (door, yard):
        check_as_home_assistant(config)
    assert {alert, on_all} <= set(door["components"])
    assert on_all in yard["components"]
    assert alert not in yard["components"]
    assert door["availability_topic"] == "vstream/status"
    (firing,) = service.get("/v1/firings", params={"alert_id": alert})["data"]
    told = json.loads(attributes)
    assert told["sentence"] == firing["sentence"]
    assert (told["condition"], told["alert_id"]) == (OWL["condition"], alert)
    assert told["probability"] == firing["probability"]
    shown = service.http.get(firing["frame_url"]).content
    assert subscriber.held[f"{of_alert}/picture"] == shown
    assert picture == service.http.get("/v1/streams/door/frame.jpg").content
    names = [topic for topic, payload, _ in subscriber.heard if payload != b"OFF"]
    of = [name for name in names if name.startswith(of_alert)]
    assert of.index(f"{of_alert}/picture") < of.index(f"{of_alert}/state"), "the state comes last"
    assert subscriber.held["vstream/back.yard/paused"] == b"OFF"
    assert subscriber.held[f"vstream/back.yard/alerts/{on_all}/state"] == b"OFF"


def test_an_alert_goes_off_and_does_not_go_on_for_what_was_before(
    service, broker, subscriber, monkeypatch
):
    monkeypatch.setattr(mqtt_bridge, "_ON_S", 3.0)
    alert = add_alert(service, "door")
    show(service, "door", "owl")
    until(lambda: service.get(f"/v1/alerts/{alert}")["fired"])
    topic = f"vstream/door/alerts/{alert}/state"
    with bridged(service, broker):
        subscriber.await_held(f"vstream/door/alerts/{alert}/picture")
        subscriber.await_held(topic, lambda told: told == b"OFF")
        for thing in ("burger", "burger", "owl"):
            show(service, "door", thing)
        until(lambda: (topic, b"ON", False) in subscriber.heard, 60)
        subscriber.await_held(topic, lambda told: told == b"OFF")
    told = [payload for name, payload, _ in subscriber.heard if name == topic]
    assert told == [b"OFF", b"ON", b"OFF"]


def test_the_switch_pauses_and_resumes(service, broker, subscriber, monkeypatch):
    commands = []

    async def noted(bridge, *command, obey=MqttBridge._command):
        commands.append(command)
        await obey(bridge, *command)

    monkeypatch.setattr(MqttBridge, "_command", noted)
    subscriber.send("vstream/door/paused/set", "ON", retain=True)  # would come at each start
    with bridged(service, broker):
        subscriber.await_held("vstream/door/paused", lambda told: told == b"OFF")
        assert service.get("/v1/streams/door")["state"] != "paused"
        for nonsense in ("", "on", "TOGGLE"):
            subscriber.send("vstream/door/paused/set", nonsense)
        subscriber.send("vstream/nowhere/paused/set", "ON")
        subscriber.send("vstream/door/paused/set", "ON")
        subscriber.await_held("vstream/door/paused", lambda told: told == b"ON")
        state = subscriber.await_held("vstream/door/state", lambda told: b"paused" in told)
        assert json.loads(state) == {"state": "paused", "error": None}
        assert service.get("/v1/streams/door")["state"] == "paused"
        subscriber.send("vstream/door/paused/set", "OFF")
        subscriber.await_held("vstream/door/paused", lambda told: told == b"OFF")
        assert service.get("/v1/streams/door")["state"] != "paused"
    assert commands.count(("door", "ON")) == 1


def test_a_key_that_may_only_read_has_no_switch(service, broker, subscriber):
    with bridged(service, broker, READER):
        config = json.loads(subscriber.await_held(DOOR))
        subscriber.await_held("vstream/status", lambda told: told == b"online")
        assert set(config["components"]) == {"picture", "state"}
        subscriber.send("vstream/door/paused/set", "ON")
        service.http.post("/v1/streams/door/restart").raise_for_status()
        show(service, "door", "owl")
        subscriber.await_held("vstream/door/picture")
        assert service.get("/v1/streams/door")["state"] != "paused"


def test_what_is_gone_is_cleared_also_what_went_meanwhile(service, broker, subscriber):
    add(service, "yard")
    other = "homeassistant/device/somebody_elses/config"
    told = {"availability_topic": "else", "components": {}}
    subscriber.send(other, json.dumps(told), retain=True)
    kept, gone = add_alert(service, "door"), add_alert(service, "door")
    with bridged(service, broker):
        show(service, "yard", "owl")
        subscriber.await_held("vstream/yard/picture")
        subscriber.await_held(f"vstream/door/alerts/{gone}/state")
        service.delete(f"/v1/alerts/{gone}")
        until(lambda: not any(gone in topic for topic in list(subscriber.held)), 60)
        subscriber.await_held(DOOR, lambda told: gone not in json.loads(told)["components"])
    subscriber.await_held("vstream/status", lambda told: told == b"offline")
    service.delete("/v1/streams/yard")
    service.delete(f"/v1/alerts/{kept}")
    with bridged(service, broker):
        until(
            lambda: not any("yard" in topic or kept in topic for topic in list(subscriber.held)), 60
        )
        until(lambda: {DOOR, other, "vstream/door/state"} <= set(subscriber.held), 60)


def test_a_picture_that_is_forgotten_goes(service, broker, subscriber):
    show(service, "door", "burger")
    show(service, "door", "owl")
    path = "/v1/streams/door"
    with bridged(service, broker, picture_s=3600):  # nothing newer takes its place
        subscriber.await_held("vstream/door/picture")
        service.delete(f"{path}/memory", params={"from_s": 0.5, "to_s": 100})
        before = service.http.get(f"{path}/frame.jpg").content
        subscriber.await_held("vstream/door/picture", lambda told: told == before)
        service.delete(f"{path}/memory", params={"from_s": 0, "to_s": 100})
        until(lambda: "vstream/door/picture" not in subscriber.held, 60)


def test_a_broker_that_comes_back_empty_gets_everything_again(service, broker):
    show(service, "door", "owl")
    with bridged(service, broker):
        with Subscriber(broker) as before:
            before.await_held("vstream/door/picture")
            before.await_held("vstream/status", lambda told: told == b"online")
            broker.kill()
        broker.start()
        with Subscriber(broker) as after:
            for topic in (DOOR, "vstream/door/picture", "vstream/door/state", "vstream/status"):
                assert after.await_held(topic) == before.held[topic]


def test_home_assistant_gets_everything_again_when_it_starts(service, broker, subscriber):
    with bridged(service, broker):
        subscriber.await_held("vstream/status", lambda told: told == b"online")
        del subscriber.heard[:]
        subscriber.send("homeassistant/status", "online")
        until(lambda: DOOR in [topic for topic, _, _ in list(subscriber.heard)], 60)


def test_a_service_that_is_away_makes_all_unavailable_until_it_is_back(
    broker, subscriber, tmp_path
):
    with ExitStack() as running:
        first = ExitStack()
        service = first.enter_context(serving(f"file://{tmp_path / 'store'}"))
        add(service, "door")
        bridge = running.enter_context(bridged(service, broker))
        subscriber.await_held("vstream/status", lambda told: told == b"online")
        first.close()
        subscriber.await_held("vstream/status", lambda told: told == b"offline")
        assert DOOR in subscriber.held
        service = running.enter_context(serving(f"file://{tmp_path / 'store'}"))
        bridge._http.base_url = service.url  # the next one has another port
        subscriber.await_held("vstream/status", lambda told: told == b"online")
        show(service, "door", "owl")
        subscriber.await_held("vstream/door/picture")


def test_a_cluster_is_a_service_like_any_other(redis_server, broker, subscriber):
    with near_cluster(redis_server.url, key=MASTER) as cluster:
        for name in ("door", "yard", "gate"):
            add(cluster, name)
        alert = add_alert(cluster, "*")
        with bridged(cluster, broker):
            for name in ("door", "yard", "gate"):
                until(lambda: cluster.alerts_on(name), 60)  # noqa: B023
                show(cluster, name, "owl")
                topic = f"vstream/{name}/alerts/{alert}"
                subscriber.await_held(f"{topic}/state", lambda told: told == b"ON")
                subscriber.await_held(f"{topic}/picture")
                subscriber.send(f"vstream/{name}/paused/set", "ON")
                subscriber.await_held(f"vstream/{name}/paused", lambda told: told == b"ON")


def test_a_broker_that_hangs_holds_up_no_memory(service, broker, monkeypatch):
    fetched = []

    async def counted(bridge, wanted, picture=MqttBridge._picture):
        fetched.append(wanted)
        return await picture(bridge, wanted)

    monkeypatch.setattr(MqttBridge, "_picture", counted)
    monkeypatch.setattr(mqtt_bridge, "_REQUEST_S", 60)
    show(service, "door", "owl", 0.1)
    with bridged(service, broker) as bridge, Subscriber(broker) as subscriber:
        first = subscriber.await_held("vstream/door/picture")
        broker.freeze()
        before = len(fetched)
        seen = set()
        for number in range(6):
            show(service, "door", "owl", 0.2 + number / 10)
            newest = service.get("/v1/streams/door")["last_frame_at"]
            until(lambda: bridge._table["vstream/door/picture"].at == newest, 60)  # noqa: B023
            seen.add(bridge._table["vstream/door/picture"])
        assert len(seen) == 6
        assert len(fetched) - before <= 1, "only what is on its way was fetched"
        broker.thaw()
        last = service.http.get("/v1/streams/door/frame.jpg").content
        subscriber.await_held("vstream/door/picture", lambda told: told == last)
        pictures = [told for name, told, _ in subscriber.heard if name == "vstream/door/picture"]
        assert pictures[0] == first
        assert len(pictures) <= 3, "the newest wins"


def test_the_command_says_when_it_ends_and_the_broker_when_it_was_killed(
    service, broker, subscriber
):
    arguments = ("mqtt", "--service", service.url, "--broker", broker.url)
    environment = {"VSTREAM_API_KEY": MASTER, "VSTREAM_MQTT_PASSWORD": PASSWORD}
    process = Process(*arguments, "--prefix", "cams", **environment)
    subscriber.await_held("cams/status", lambda told: told == b"online")
    assert "homeassistant/device/cams_door/config" in subscriber.held
    process.kill()
    subscriber.await_held("cams/status", lambda told: told == b"offline")
    process = Process(*arguments, "--prefix", "cams", **environment)
    subscriber.await_held("cams/status", lambda told: told == b"online")
    began = time.monotonic()
    assert process.terminate() == 0
    assert time.monotonic() - began < 20
    subscriber.await_held("cams/status", lambda told: told == b"offline")
    process = Process(*arguments, **{**environment, "VSTREAM_MQTT_PASSWORD": "wrong"})
    process.await_line("broker away")
    process.kill()
    arguments = (*arguments[:-1], broker.encrypted_url)
    process = Process(*arguments, **environment, SSL_CERT_FILE=str(broker.certificate))
    subscriber.await_held("vstream/status", lambda told: told == b"online")
    process.kill()
    process = Process(*arguments, **environment)  # which does not trust it
    process.await_line("CERTIFICATE_VERIFY_FAILED")
    process.kill()


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("http://broker", "write mqtt://"),
        ("mqtt://", "write mqtt://"),
        ("mqtt://broker/topic", "write mqtt://"),
        ("mqtt://broker:99999", "write mqtt://"),
        ("mqtt://[broker", "write mqtt://"),
        ("mqtt://user:secret@broker", "VSTREAM_MQTT_PASSWORD"),
    ],
)
def test_an_address_that_makes_no_sense_is_refused(url, wrong):
    with pytest.raises(SettingsError, match=wrong) as refused:
        Broker.parse(url, None)
    assert "secret" not in str(refused.value)
    with pytest.raises(SettingsError, match="prefix"):
        Names("cameras/#")


def test_an_address_is_read():
    assert Broker.parse("mqtt://broker", None) == Broker("broker", 1883, None, None)
    whole = Broker.parse("mqtts://a%40b@broker:1234/", "secret")
    assert whole == Broker("broker", 1234, "a@b", "secret", is_encrypted=True)
    assert Broker.parse("mqtts://broker", None).port == 8883
    assert "secret" not in repr(whole)
