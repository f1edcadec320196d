"""Of a stream that a key may not see, background answers tell what foreground ones do: nothing."""

import pytest
from processes import until


@pytest.mark.parametrize(
    ("name", "stream_id", "status", "code"),
    [
        ("ask_a", "b", 404, "stream_not_found"),
        ("ask_a", "nothing", 404, "stream_not_found"),
        ("read_a", "a", 403, "not_permitted"),
    ],
)
def test_an_answer_in_the_background_fails_as_one_that_is_waited_for(
    as_caller, name, stream_id, status, code
):
    caller = as_caller(name)
    parts = [
        {"type": "video_url", "video_url": {"url": f"stream://{stream_id}"}},
        {"type": "input_text", "text": "what do you see?"},
    ]
    body = {"input": [{"role": "user", "content": parts}]}
    refused = caller.post("/v1/responses", json=body)
    assert refused.status_code == status
    assert refused.json()["error"]["code"] == code
    made = caller.post("/v1/responses", json={**body, "background": True}).json()
    path = f"/v1/responses/{made['id']}"
    until(lambda: caller.get(path).json()["status"] == "failed")
    told = caller.get(path).json()["error"]
    assert told == {"code": code, "message": refused.json()["error"]["message"]}
