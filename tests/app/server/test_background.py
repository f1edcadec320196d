from functools import partial

import pytest

from app.server.api_errors import ApiError
from app.server.asked import Asked
from app.server.background import BackgroundResponses
from vstream.decoding import GREEDY
from vstream.service.event_log import EventLog


class _Silent:
    """An inquiry that says nothing."""

    pieces = ()


def _ask(responses, text):
    made = responses.create(
        Asked(text, "", (), (), GREEDY),
        _Silent,
        lambda inquiry: [],
        owner="",
        model="embedded",
        background=True,
        metadata={},
    )
    assert list(made.follow())[-1]["type"] == "response.completed"
    return made.id


def test_what_is_kept_of_responses_stays_within_a_bound_of_bytes(monkeypatch):
    monkeypatch.setattr("app.server.background._MOST_KEPT_BYTES", 100_000)
    responses = BackgroundResponses(EventLog())
    ask = partial(_ask, responses)
    long = [ask("x" * 10_000) for _ in range(5)]
    short = ask("?")
    with pytest.raises(ApiError):
        responses.get(long[0], "")
    for kept in (long[-1], short):
        assert responses.get(kept, "").status == "completed"
