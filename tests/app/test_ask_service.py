"""`vstream ask --service`: a running service says what the store would have said here."""

import os
import time

import pytest
from command_line import vstream
from processes import Process
from service import embedded, running_service
from synthetic_video import write_video

from app.server.keys import Action, ScopedKey, new_key
from app.terminal import Terminal

ASKED = "what do you see now?"
KEY = "a-master-key-for-tests"
AN_HOUR_AGO = time.time() - 3600


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One with a stream `lobby` of eight seconds."""
    folder = tmp_path_factory.mktemp("there")
    video = write_video(folder / "clip.mp4", num_frames=80, fps=10)
    os.utime(video, (AN_HOUR_AGO, AN_HOUR_AGO))
    store = f"file://{folder}/store"
    assert vstream("ingest", video, "--store", store, "--id", "lobby").code == 0
    return store


@pytest.fixture(scope="module")
def url(store):
    with running_service(model=embedded(), store=store) as service:
        yield service.url


@pytest.mark.parametrize(
    "more",
    [
        (ASKED,),
        (ASKED, "--at", "0:03"),
        (ASKED, "--from", "2", "--at", "0:05.5"),
        ("what was there between 0:02 and 0:04?",),
        ("what was there in the last 70 minutes?", "--zone", "Europe/Prague"),
        ("how many times was the star there?",),
        ("how many times was the star there?", "--no-plan"),
    ],
)
def test_a_service_says_what_the_store_would(store, url, more):
    here = vstream("ask", "lobby", *more, "--store", store, "--json").document
    run = vstream("ask", "lobby", *more, "--service", url, "--json")
    assert run.code == 0, run.err
    there, times = run.document, ("first_token_s", "took_s")
    assert set(here) - set(there) == {"asked_at_s", "token_ids", "context_tokens", "retrieve_s"}
    assert set(there) <= set(here)
    told = ("start_s", "end_s", "captured_at", "score")
    here["evidence"] = [{name: one[name] for name in told} for one in here["evidence"]]
    if here["looked"] is not None:
        here["looked"] = {name: here["looked"][name] for name in ("from_s", "to_s")}
    same = set(there) - set(times) - {"plan", "evidence"}
    assert {name: there[name] for name in same} == {name: here[name] for name in same}
    assert there["evidence"] == [pytest.approx(one) for one in here["evidence"]]
    assert all(there[name] > 0 for name in times)
    found = [one["plan"] and one["plan"]["found"][0]["spans"] for one in (here, there)]
    assert found[0] == found[1]


def test_an_answer_is_shown_piece_by_piece_with_what_it_rests_on(store, url, monkeypatch):
    pieces, piece = [], Terminal.piece
    monkeypatch.setattr(
        Terminal, "piece", lambda self, text: (pieces.append(text), piece(self, text))
    )
    here = vstream("ask", "lobby", ASKED, "--store", store)
    shown_here, pieces[:] = pieces.copy(), []
    there = vstream("ask", "lobby", ASKED, "--service", url)
    assert there.out == here.out
    assert len(pieces) > 1
    assert "".join(pieces) == "".join(shown_here)
    assert "drawings only" in there.err
    assert "model embedded" not in there.err, "none is loaded here"
    moments = [line.split()[:2] for line in here.err.splitlines() if "█" in line]
    assert [line.split()[:2] for line in there.err.splitlines() if "█" in line] == moments
    assert "8 moments read, newest 0:07; first token" in there.err


def test_questions_that_are_typed_are_answered_each(store, url):
    asked = ("what do you see?", "", "what was there between 0:02 and 0:04?")
    run = vstream("ask", "lobby", "--service", url, stdin="\n".join(asked))
    assert run.code == 0, run.err
    each = [vstream("ask", "lobby", text, "--store", store).out for text in asked if text]
    assert run.out == "".join(each)


def test_torch_is_not_imported(url):
    script = "import sys; from app.cli import main\n"
    heavy = {"torch", "transformers", "faiss", "fastapi"}
    script += f"try: main()\nfinally: print({heavy} & set(sys.modules))"
    run = Process(script, "ask", "lobby", ASKED, "--service", url, module="-c", warm=False)
    assert run.wait() == 0, "".join(run.err)
    assert run.out[-1] == "set()\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody", ASKED), "there is no stream nobody"),
        (("lobby", "  "), "the question is empty"),
        (("lobby", ASKED, "--at", "9:00"), "nothing is kept of 9:00: the stream's newest block"),
        (("lobby", ASKED, "--at", "1", "--from", "2"), "--at 0:01 is before --from 0:02"),
        (("lobby", ASKED, "--zone", "nowhere"), "no time zone"),
        (("lobby", ASKED, "--dialogue", "kim"), "--dialogue has no effect with --service"),
        (("lobby", ASKED, "--store", "memory://"), "--store has no effect with --service"),
        (("lobby", ASKED, "--service", "http://127.0.0.1:1"), "127.0.0.1:1 cannot be reached"),
        (("lobby", ASKED, "--service", "lobby"), "lobby is not a service"),
        (("lobby", ASKED, "--service", "http://[::1"), "is not a service"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(url, arguments, told):
    run = vstream("ask", "--service", url, *arguments)
    assert (run.code, run.out) == (1, "")
    assert told in run.err
    assert len(run.err.strip().splitlines()) == 1


def test_the_key_is_that_of_the_environment_and_sees_its_streams(store, monkeypatch):
    key, hash_ = new_key()
    scoped = ScopedKey(name="yard", hash=hash_, streams=("yard",), can=frozenset({Action.ASK}))
    with running_service(model=embedded(), store=store, key=KEY, scoped=[scoped]) as service:
        asked = ("ask", "lobby", ASKED, "--service", service.url)
        without = vstream(*asked)
        monkeypatch.setenv("VSTREAM_API_KEY", key)
        hidden = vstream(*asked)
        monkeypatch.setenv("VSTREAM_API_KEY", KEY)
        run = vstream(*asked)
    assert (without.code, hidden.code, run.code) == (1, 1, 0)
    assert "a key is needed; set VSTREAM_API_KEY or" in without.err
    assert "there is no" in hidden.err
    assert run.out.strip()


def test_answer_names_what_replaces_it():
    run = vstream("answer", "--store", "redis://host", "--workers", "2")
    assert (run.code, run.out) == (2, "")
    [line] = run.err.strip().splitlines()
    assert "vstream serve --store redis://HOST" in line
    assert "vstream ask --service http://HOST:8900 STREAM QUESTION" in line
