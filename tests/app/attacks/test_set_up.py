"""What the attacks start from is there: each key is good for its own stream and no other."""

import pytest

QUESTION = [{"type": "text", "text": "what do you see?"}]


def _ask(client, stream_id):
    url = {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}}
    body = {"max_tokens": 4, "messages": [{"role": "user", "content": [url, *QUESTION]}]}
    return client.post("/v1/chat/completions", json=body)


@pytest.mark.parametrize(
    ("name", "may_see"),
    [("master", ["a", "b"]), ("read_a", ["a"]), ("ask_a", ["a"]), ("manage_b", ["b"])],
)
def test_a_key_sees_its_own_streams(as_caller, name, may_see):
    seen = as_caller(name).get("/v1/streams").json()["data"]
    assert [one["id"] for one in seen] == may_see
    assert all(one["memory"]["blocks"] for one in seen)


@pytest.mark.parametrize(
    ("name", "stream_id", "status"),
    [("master", "b", 200), ("ask_a", "a", 200), ("ask_a", "b", 404), ("read_a", "a", 403)],
)
def test_a_key_asks_what_it_may(as_caller, name, stream_id, status):
    assert _ask(as_caller(name), stream_id).status_code == status


def test_without_keys_everybody_may(unlocked):
    assert [one["id"] for one in unlocked.get("/v1/streams")["data"]] == ["a", "b"]
    assert _ask(unlocked.http, "a").status_code == 200
