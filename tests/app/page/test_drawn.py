"""What the page draws by itself: details of a stream, the chat, rates, and words."""

import json
import shlex
from html import unescape

import pytest

from app.client import ServiceClient
from app.page.chat_part import chats, note_of
from app.page.code import code_of
from app.page.visitors import Exchange, Finding, Rates, Visitors
from app.page.words import covered, drawn, length, memory_words, size
from app.server.documents import MemoryDocument, Problem, StreamDocument
from app.server.moment_documents import CoveredDocument
from app.stream_time import clock


def document(**more):
    memory = MemoryDocument(
        from_s=0,
        to_s=7300,
        blocks=50,
        waiting_blocks=0,
        bytes={"host": 2_000_000, "file": 70_000_000},
        seconds={"host": 90.0, "file": 7300.0},
        blocks_by_codec={},
    )
    whole = {
        "id": "door",
        "state": "running",
        "error": None,
        "source": {},
        "context": "",
        "timezone": None,
        "policy": "default",
        "stream_s": 7300.0,
        "last_frame_at": 0.0,
        "last_frame_age_s": 0.4,
        "sampled_fps": 1.0,
        "frames": {"received": 100, "sampled": 20, "encoded": 15},
        "dropped": {"stale": 2, "corrupt": 1, "duplicate": 5, "rate": 80},
        "reconnects": 0,
        "restarts": 0,
        "memory": memory,
    }
    return StreamDocument(**{**whole, **more})


def test_details_say_rates_drops_and_what_each_tier_holds():
    told = drawn("details", "door", document(), {"sampled": 1.02, "received": 5.0})
    assert 'data-of="door"' in told
    assert "1.0 of 5.0 frames/s sampled" in told
    assert "5 duplicates skipped" in told
    assert "3 dropped (1 damaged)" in told
    assert "50 KV blocks in memory" in told
    assert "<b>in RAM</b> 2 MB, 90 s" in told
    assert "<b>on disk</b> 70 MB, 2.0 h" in told
    assert memory_words(document().memory) == "2.0 h of memory (72 MB)"


def test_details_say_where_the_memory_is_damaged():
    places = [
        "/data/door/segments/0.vskv: bytes 0 to 9: <no block> (3 blocks lost)",
        "/data/x: gone",
    ]
    memory = document().memory.model_copy(update={"damaged": 2, "lost": 4, "damage": places})
    told = drawn("details", "door", document(memory=memory), {})
    assert "Damaged in 2 places, 4 blocks lost: run <code>vstream verify</code>" in told
    assert "&lt;no block&gt; (3 blocks lost)" in told
    assert '<p class="note">/data/x: gone</p>' in told
    assert "amaged in" not in drawn("details", "door", document(), {})


def test_what_the_service_says_is_text_and_never_markup():
    evil = "<script>alert(1)</script>"
    problem = Problem(code="X", message=evil, since=0)
    exchange = Exchange(evil, "door", "door", answer=evil, note=evil, problem=evil)
    exchange.unsure, exchange.code = evil, {evil: f'"{evil}'}
    finding = Finding(evil, "door", strange=evil, problem=evil)
    told = [drawn("details", "door", document(error=problem), {}), drawn("finding", finding)]
    told.append(drawn("matches", evil, [], evil))
    for one in (*told, *chats([exchange])):
        assert "<script>" not in one
        assert "&lt;script&gt;" in one


def test_what_was_said_is_shown_as_it_was_said():
    said = 'it\'s 5 * 3 # \\ [x] & "y" $2 `${1}`'
    (told,) = chats([Exchange(said, "door", answer=said, is_running=False)])
    assert f'<p class="asked">{said}</p>' in unescape(told)
    assert f'<p class="said">{said}</p>' in unescape(told)


def test_what_is_copied_asks_the_same_and_never_holds_a_key():
    question = 'what\'s there? "$HOME" `id` \\'
    for key in (None, "a-key-that-is-long-enough"):
        with ServiceClient("http://127.0.0.1:1", key) as client:
            code = code_of(client, question, "stream://door")
        assert "a-key" not in str(code)
        assert [("VSTREAM_API_KEY" in one) for one in code.values()] == [key is not None] * 2
        compile(code["Python"], "copied", "exec")
        assert repr(question) in code["Python"]
        body = json.loads(shlex.split(code["curl"])[-1])
        assert body["messages"][0]["content"][1]["text"] == question


def test_an_answer_says_that_it_is_unsure_and_how_old_the_newest_frame_was():
    told = {"ttft_ms": 21.6, "moments": 6, "newest_frame_age_s": 0.71, "confidence": 0.31}
    note, unsure = note_of([{**told, "unsure": True}])
    assert note == "first token after 22 ms · 6 moments read · newest frame 0.7 s old"
    exchange = Exchange("who?", "door", answer="a cat", unsure=unsure, is_running=False)
    assert ">unsure, 31%<" in chats([exchange])[0]
    strange = {"unsure": True, "strange": "this picture is not of its world", "confidence": 0.0}
    assert note_of([{**told, **strange}])[1] == "unsure"  # the answer says why
    spans = [{"from_s": at, "to_s": at + 5, "share": share} for at, share in ((61, 0.3), (70, 0.5))]
    note, unsure = note_of([{**told, "unsure": False, "spans": spans}])
    assert "mostly from 1:10 to 1:15" in note
    assert unsure is None
    plan = {"found": [{"judged": 30, "known": 8}, {"judged": 0, "known": 38}]}
    found = {**told, "unsure": False, "plan": plan, "total_ms": 412.0}
    assert note_of([found])[0] == "76 moments judged in 0.4 s · newest frame 0.7 s old"


@pytest.mark.parametrize(
    ("lasts_s", "words"),
    [
        ({"judged": 40}, "looked at 0:40 of 0:40"),
        ({"judged": 9, "excluded": 600}, "looked at 0:09 of 10:09, 10:00 ruled out by the index"),
        (
            {"open": 3, "gone": 1},
            "looked at 0:00 of 0:04, 0:03 not looked at, 0:01 no longer kept",
        ),
    ],
)
def test_it_is_said_how_much_was_looked_at_and_what_became_of_the_rest(lasts_s, words):
    half = [CoveredDocument(kind=kind, from_s=0, to_s=s / 2) for kind, s in lasts_s.items()]
    assert covered([*half, *half]) == words


def test_what_is_found_is_told_while_it_comes_and_that_the_rest_was_not_looked_at_if_stopped():
    finding = Finding("an owl", "door", judged=12)
    assert "12 moments judged, 0 spans found so far" in drawn("finding", finding)
    finding.is_stopped = True
    assert "Not found; the rest was not looked at." in drawn("finding", finding)
    finding.coverage, finding.spans = [], [None] * 3
    assert "Found 3 times: looked at 0:00 of 0:00." in drawn("finding", finding)


def test_rates_are_measured_and_begin_anew_with_another_stream():
    rates = Rates()
    assert rates.of("door", {"sampled": 10}, 100.0) == {}
    assert rates.of("door", {"sampled": 13}, 102.0) == {"sampled": 1.5}
    assert rates.of("yard", {"sampled": 90}, 103.0) == {}
    assert rates.of("yard", {"sampled": 3}, 105.0) == {}  # the service was restarted
    assert rates.of("yard", {"sampled": 5}, 106.0) == {"sampled": 2.0}


def test_visitors_are_told_apart_and_forgotten():
    visitors = Visitors()
    one, other = visitors.of("a"), visitors.of("b")
    one.ask("who?", "door").answer = "a cat"
    assert other.exchanges == []
    other.streams = {"door": document()}
    assert other.id_of("my camera") == other.camera_id != one.camera_id
    assert other.id_of("door") == "door"
    assert other.id_of(one.camera_id) is None
    assert visitors.of("a") is one
    assert not visitors.has_left("a")
    assert visitors.leave("a") is one
    assert visitors.has_left("a")
    assert visitors.of("a") is not one


def test_a_stopped_answer_is_stopped_and_no_part_of_the_dialogue():
    visitor = Visitors().of("a")
    visitor.streams = {"door": document()}
    first = visitor.ask("who?", "door")
    first.answer, first.is_running = "a cat", False
    second = visitor.ask("where?", "door")
    second.answer = "at the"
    visitor.stop()
    assert (first.is_stopped, second.is_stopped) == (False, True)
    assert [one["content"] for one in visitor.dialogue("door")] == ["who?", "a cat"]
    assert visitor.dialogue("yard") == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (clock(65), "1:05"),
        (clock(3725), "1:02:05"),
        (length(90), "90 s"),
        (length(600), "10 min"),
        (length(9000), "2.5 h"),
        (size(12_300_000), "12 MB"),
    ],
)
def test_numbers_are_told_in_words_for_people(told, words):
    assert told == words
