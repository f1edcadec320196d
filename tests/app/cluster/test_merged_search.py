"""Workers that look for the same, which are scripts here: what they find is told as it comes."""

import asyncio
import json

import pytest

from app.cluster.merged_search import MergedSearch
from app.server.api_errors import ApiError
from app.server.sse import DONE, event_of

KINDS = [(b"content-type", b"text/event-stream; charset=utf-8")]


def start(status=200):
    return {"type": "http.response.start", "status": status, "headers": KINDS}


def body(text, more=True):
    return {"type": "http.response.body", "body": text.encode(), "more_body": more}


def span(number):
    return body(event_of({"span": number}, "span"))


def progress(judged):
    return body(event_of({"judged": judged, "known": 0}, "progress"))


def told(line):
    head, _, data = line.strip().partition("\ndata: ")
    return head.removeprefix("event: "), json.loads(data)


def heard(run):
    return asyncio.run(asyncio.wait_for(run(), 20))


def test_what_one_finds_is_told_while_another_still_looks():
    async def run():
        goes_on = asyncio.Event()

        async def ask(worker, take):
            await take(start())
            await take(progress(2))
            if worker == "b":
                await goes_on.wait()
            await take(span(worker))
            await take(body(event_of({"data": [worker]}, "done")))
            await take(body(DONE, more=False))

        search = MergedSearch("ab", ask)
        await search.begin()
        events = search.events()
        first = [told(await anext(events)) for _ in range(3)]
        goes_on.set()
        rest = [told(line) async for line in events]
        return first, rest, {at: json.loads(one.body) for at, one in search.replies.items()}

    first, rest, whole = heard(run)
    assert sorted(first, key=str) == [
        ("progress", {"judged": 2, "known": 0}),
        ("progress", {"judged": 4, "known": 0}),
        ("span", {"span": "a"}),
    ]
    assert rest == [("span", {"span": "b"})]
    assert whole == {"a": {"data": ["a"]}, "b": {"data": ["b"]}}


@pytest.mark.parametrize("fate", ["is gone", "falls silent"])
def test_one_that_is_lost_has_no_whole(fate):
    async def run():
        async def ask(worker, take):
            if worker == "b" and fate == "is gone":
                raise ApiError(503, "gone", "worker_lost")
            await take(start())
            if worker == "b":  # as the relay ends what was begun
                await take(body(event_of({"error": {"code": "worker_lost"}}) + DONE, more=False))
                return
            await take(body(event_of({"data": []}, "done") + DONE, more=False))

        search = MergedSearch("ab", ask)
        await search.begin()
        assert [line async for line in search.events()] == []
        return {at: bool(one.body) for at, one in search.replies.items()}

    assert heard(run) == {"a": True, "b": False}


def test_who_refuses_says_so_before_anything_is_told_and_nobody_goes_on():
    async def run():
        async def ask(worker, take):
            if worker == "a":
                await take(start())
                await asyncio.Event().wait()
            await take(start(404))
            await take(body("no such", more=True))
            await take(body(" stream", more=False))

        search = MergedSearch("ab", ask)
        refused = await search.begin()
        await asyncio.gather(*search._reading, return_exceptions=True)
        return refused

    refused = heard(run)
    assert (refused.status, refused.body) == (404, b"no such stream")
