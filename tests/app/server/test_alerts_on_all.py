"""Alerts on `*`: they hold for every stream there is and for those that are added later."""

import pytest
from one_thing import thing_jpeg
from processes import until
from service import embedded, running_service

from app.server.keys import ScopedKey, new_key

MASTER = "correct-horse-battery"
KEYS = {pattern: new_key() for pattern in ("door", "?", "d*")}
OWL = {"condition": "tell me when there is an owl", "confirmations": 1, "cooldown_s": 0}


def started(store):
    scoped = [
        ScopedKey(name=f"of {pattern}", hash=hash_, streams=(pattern,), can={"manage"})
        for pattern, (_, hash_) in KEYS.items()
    ]
    return running_service(model=embedded(), store=store, key=MASTER, scoped=scoped)


def create(service, name):
    spec = {"source": {"type": "push"}, "sampling": {"dedup": 0}}
    service.post("/v1/streams", {"id": name, **spec})


def show_owl(service, name):
    path = f"/v1/streams/{name}/frames"
    service.http.post(path, content=thing_jpeg("owl")).raise_for_status()


def fired_on(service, alert_id, *names):
    """Waits until it has, on these and no others."""

    def told():
        firings = service.get(f"/v1/alerts/{alert_id}")["firings"]
        return sorted({one["stream_id"] for one in firings})

    until(lambda: told() == sorted(names))


def test_it_holds_for_streams_added_later_also_after_a_restart(tmp_path):
    with started(f"file://{tmp_path}") as service:
        create(service, "door")
        alert = service.post("/v1/alerts", {"stream_ids": ["*"], **OWL})
        assert alert["stream_ids"] == ["*"]
        show_owl(service, "door")
        fired_on(service, alert["id"], "door")
        create(service, "yard")
        show_owl(service, "yard")
        fired_on(service, alert["id"], "door", "yard")
        service.delete("/v1/streams/door", params={"purge": True})
        fired_on(service, alert["id"], "yard")
    with started(f"file://{tmp_path}") as service:  # beside the one that was added
        fired_on(service, alert["id"], "yard")
        create(service, "gate")
        show_owl(service, "gate")
        fired_on(service, alert["id"], "yard", "gate")


def test_it_begins_without_a_stream_and_does_not_end_with_the_last():
    with started("memory://") as service:
        alert = service.post("/v1/alerts", {"stream_ids": ["*"], **OWL})
        create(service, "door")
        until(lambda: service.alerts_on("door"))
        service.delete("/v1/streams/door")
        create(service, "yard")
        show_owl(service, "yard")
        fired_on(service, alert["id"], "yard")


@pytest.mark.parametrize("pattern", KEYS)
def test_only_a_key_for_all_streams_may_set_or_see_it(pattern):
    with started("memory://") as service:
        create(service, "door")
        made = service.post("/v1/alerts", {"stream_ids": ["*"], **OWL})
        own = {"Authorization": f"Bearer {KEYS[pattern][0]}"}
        wanted = {"stream_ids": ["*"], **OWL}
        assert service.http.post("/v1/alerts", json=wanted, headers=own).status_code == 403
        assert service.http.get("/v1/alerts", headers=own).json()["data"] == []
        path = f"/v1/alerts/{made['id']}"
        for method in ("GET", "DELETE"):
            assert service.http.request(method, path, headers=own).status_code == 404
        changed = {"cooldown_s": 9}
        assert service.http.patch(path, json=changed, headers=own).status_code == 404
