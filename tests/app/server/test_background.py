import json
from functools import partial

import pytest
from processes import until

from app.server.answering import Answering
from app.server.api_errors import ApiError
from app.server.ask_request import AskRequest
from app.server.background import BackgroundResponses, ResponseRecord
from app.server.keys import Caller
from vstream.decoding.token_choice import GREEDY, Decoding
from vstream.service.event_log import EventLog

NOBODY = Caller("")
ANSWERING = Answering(100)


class _Silent:
    """An inquiry that says nothing."""

    pieces = ()


def _ask(responses, text, decoding=GREEDY):
    made = ResponseRecord(
        owner="",
        model="embedded",
        request=AskRequest(text, "", (), (), decoding),
        asker=ANSWERING.take(None),
        background=True,
        metadata={},
    )
    responses.begin(made, _Silent, lambda inquiry: [])
    assert list(made.follow())[-1]["type"] == "response.completed"
    return made.id


def test_what_ended_an_hour_ago_is_not_there_any_more(monkeypatch):
    responses = BackgroundResponses(EventLog(), ANSWERING)
    made = responses.get(_ask(responses, "what?"), NOBODY)
    monkeypatch.setattr(made, "ended_at", made.ended_at - 3601)
    with pytest.raises(ApiError):
        responses.get(made.id, NOBODY)


def test_what_is_kept_of_responses_stays_within_a_bound_of_bytes(monkeypatch):
    monkeypatch.setattr("app.server.background._MOST_KEPT_BYTES", 100_000)
    responses = BackgroundResponses(EventLog(), ANSWERING)
    ask = partial(_ask, responses)
    long = [ask("x" * 10_000) for _ in range(5)]
    shaped = ask("?", Decoding(schema=json.dumps({"title": "x" * 20_000})))
    assert responses.get(shaped, NOBODY).num_bytes > 20_000
    short = ask("?")
    for gone in long[:3]:
        with pytest.raises(ApiError):
            responses.get(gone, NOBODY)
    for kept in (shaped, short):
        assert responses.get(kept, NOBODY).status == "completed"


def test_a_response_in_the_background_gives_its_place_back():
    _ask(BackgroundResponses(EventLog(), ANSWERING), "what?")
    until(lambda: ANSWERING.num == 0)
