"""Questions that travel through Redis: the answers a session gives, whoever dies on the way."""

import time

import pytest
from engine import configured, open_session, stream_frames, tiny_video_llm

from encoders import Turn
from memory import MemoryConfig, RedisLink, StoreError
from vstream.board import question_board
from vstream.board.answer_workers import AnswerWorkers
from vstream.board.question_board import QuestionBoard
from vstream.config import VStreamConfig
from vstream.question import Answer, Question

ENGINE = {
    "window_frames": 6,
    "window_stride": 2,
    "recent_frames": 3,
    "retrieve_blocks": 4,
    "max_answer_tokens": 6,
}
ASKED = "what is on the table?"


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Who stops waits for the end of a wait for the next question."""
    monkeypatch.setattr(question_board, "WAIT_S", 0.1)


@pytest.fixture(params=["redis", "valkey"])
def server(request):
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture
def board(server, model):
    link = RedisLink(server.url)
    yield QuestionBoard(link, model.fingerprint)
    link.close()


@pytest.fixture
def workers(server, model):
    workers = AnswerWorkers(config(server), model, 2)
    workers.start()
    yield workers
    workers.stop()


@pytest.fixture
def session(server, model):
    with open_session(model, store=server.url, **ENGINE) as session:
        session.push(stream_frames(8))
        yield session


def config(server):
    return VStreamConfig(memory=MemoryConfig(store=server.url), **configured(**ENGINE))


def last_said(board, posted):
    return list(board.events(posted))[-1]


def without_timings(document):
    own = ("timings_ms", "model")  # what an answerer adds
    return {name: value for name, value in document.items() if name not in own}


def impatient(monkeypatch):
    monkeypatch.setattr(question_board, "HERE_S", 0.4)
    monkeypatch.setattr("vstream.board.answer_workers.BEAT_S", 0.1)


@pytest.mark.parametrize(("from_s", "at_s"), [(None, None), (None, 4.0), (2.0, 6.0)])
def test_an_answer_from_elsewhere_is_the_session_s_own(board, workers, session, from_s, at_s):
    question = Question(ASKED, at_s, from_s=from_s)
    posted = board.post("test", question)
    said = list(board.events(posted))
    own = session.ask(question).answer
    assert without_timings(said[-1].document) == without_timings(own.document())
    assert "".join(one.text for one in said[:-1]).strip() == own.text
    assert {one.kind for one in said[:-1]} <= {"piece"}


def test_a_document_says_all_of_an_answer_but_the_pictures(session):
    answer = session.ask(ASKED).answer
    assert Answer.of_document(answer.question, answer.document()).document() == answer.document()


def test_many_questions_are_answered_each_once(board, workers, session):
    times = [float(t) for t in range(2, 8)] * 3
    posted = [board.post("test", Question(ASKED, t)) for t in times]
    for one, t in zip(posted, times, strict=True):
        said = list(board.events(one))
        assert [s.kind for s in said].count("answer") == 1
        assert said[-1].document["asked_at_s"] == t
    with board._link.told():
        assert board._link.client.xlen(board._questions) == 0


@pytest.mark.parametrize(("stream", "reason"), [("nobody", "no such stream"), ("../x", "id")])
def test_what_cannot_be_answered_is_refused_with_the_reason(board, workers, stream, reason):
    said = last_said(board, board.post(stream, Question(ASKED)))
    assert said.kind == "error"
    assert reason in said.text


def test_a_question_outside_the_stream_is_refused(board, workers, session):
    assert last_said(board, board.post("test", Question(ASKED, -5.0))).kind == "error"
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"


def test_a_dialogue_goes_on_whoever_answers(server, model, board, workers, session):
    first = last_said(board, board.post("test", Question(ASKED), "kim")).document
    assert board.turns("test", "kim") == (Turn(ASKED, first["answer"]),)
    second = last_said(board, board.post("test", Question("and then?"), "kim")).document
    told = Question("and then?", dialogue=(Turn(ASKED, first["answer"]),))
    own = session.ask(told).answer.document()
    assert without_timings(second) == without_timings(own)
    assert board.turns("test", "somebody else") == ()


def test_a_question_of_an_answerer_that_died_is_begun_anew(
    monkeypatch, server, model, board, session
):
    impatient(monkeypatch)
    posted = board.post("test", Question(ASKED))
    dead = QuestionBoard(RedisLink(server.url), model.fingerprint)
    while (taken := dead.take("0")) is None:
        pass
    dead.say(taken, "half an ans")
    workers = AnswerWorkers(config(server), model, 1)
    workers.start()
    said = list(board.events(posted))
    workers.stop()
    assert [one.kind for one in said[:2]] == ["piece", "again"]
    assert (
        Answer.of_document(posted.question, said[-1].document).text
        == session.ask(ASKED).answer.text
    )
    dead.finish(taken, said[-1].document)  # it was only slow: nobody is told twice
    assert [one.kind for one in board.events(posted)].count("answer") == 1


def test_the_question_of_a_dead_answerer_waits_behind_no_others_in_work(board):
    """A server looks at ten of those in work for each that it is asked for."""
    posted = [board.post("test", Question(f"{ASKED} {n}")) for n in range(15)]
    taken = []
    while len(taken) < 15:
        taken += filter(None, [board.take(f"{len(taken)}")])
    died_over = taken[12].entry
    board._link.client.xclaim(
        *(board._questions, "answerers", "dead", 0, [died_over]), idle=60_000, justid=True
    )
    again = board.take("other")
    assert again is not None
    assert again.id == posted[12].id
    assert board.take("other") is None


def test_a_question_that_was_taken_over_is_answered_once_and_by_the_last(
    monkeypatch, server, model, board, session
):
    impatient(monkeypatch)
    slow, quick = (QuestionBoard(RedisLink(server.url), model.fingerprint) for _ in range(2))
    posted = board.post("test", Question(ASKED), "kim")
    while (first := slow.take("0")) is None:
        pass
    time.sleep(1)
    while (second := quick.take("1")) is None:
        pass
    document = session.ask(ASKED).answer.document()
    slow.hold(first, "0")
    slow.finish(first, {**document, "answer": "too late"})
    assert board._link.client.xlen(board._questions) == 1
    quick.finish(second, document)
    slow.finish(first, {**document, "answer": "too late"})
    assert last_said(board, posted).document == document
    assert board.turns("test", "kim") == (Turn(ASKED, document["answer"]),)


def test_what_cannot_be_read_on_the_board_harms_nobody(board, workers, session):
    for junk in ({"question": "{}"}, {"question": "no JSON"}, {"something": "else"}):
        board._link.client.xadd(board._questions, junk)
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"
    assert board._link.client.xlen(board._questions) == 0


def test_an_answer_that_is_no_json_is_told(monkeypatch, board, workers, session):
    with monkeypatch.context() as patched:
        patched.setattr(Answer, "document", lambda answer: {"answer": float("nan")})
        said = last_said(board, board.post("test", Question(ASKED)))
    assert said.kind == "error"
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"


def test_workers_that_cannot_report_stop_and_are_gone(server, model, board, session):
    def broken(posted, outcome, ms):
        raise BrokenPipeError("nobody reads")

    workers = AnswerWorkers(config(server), model, 1, broken)
    workers.start()
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"
    give_up_at = time.monotonic() + 10
    while workers.failure is None and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert isinstance(workers.failure, BrokenPipeError)
    workers.stop()
    assert board.answerers() == []


def test_a_stream_that_began_anew_is_answered_from_what_it_is_now(server, model, board, workers):
    for seed in (1, 2):
        with server.client() as client:
            for key in client.keys("vstream:{*"):
                client.delete(key)
        with open_session(model, store=server.url, **ENGINE) as session:
            session.push(stream_frames(8, seed=seed))
            said = last_said(board, board.post("test", Question(ASKED)))
            own = session.ask(ASKED).answer.document()
        assert without_timings(said.document) == without_timings(own)


def test_a_question_that_waited_too_long_is_not_answered(monkeypatch, board, session):
    monkeypatch.setattr(question_board, "WAITS_S", -1)
    posted = board.post("test", Question(ASKED))
    for _ in range(2):
        assert board.take("0") is None
    assert "nobody answered within" in last_said(board, posted).text


def test_a_question_that_is_gone_is_told(monkeypatch, board, workers, session):
    posted = board.post("nothing", Question(ASKED))
    assert last_said(board, posted).kind == "error"
    board._link.client.delete(f"vstream:answer:{posted.id}")
    with pytest.raises(StoreError, match="the question is gone"):
        list(board.events(posted, patience_s=0.1))


def test_a_question_that_kills_its_answerers_is_given_up(monkeypatch, board, session):
    impatient(monkeypatch)
    monkeypatch.setattr(question_board, "HERE_S", 0.01)
    posted = board.post("test", Question(ASKED))
    begun = 0
    give_up_at = time.monotonic() + 20
    while begun <= question_board.ATTEMPTS and time.monotonic() < give_up_at:
        begun += board.take("0") is not None
        time.sleep(0.05)
        if board._link.client.xlen(board._questions) == 0:
            break
    assert begun == question_board.ATTEMPTS
    said = last_said(board, posted)
    assert said.kind == "error"
    assert "over this question" in said.text


def test_nobody_there_is_said_and_the_question_is_taken_back(monkeypatch, board, session):
    impatient(monkeypatch)
    assert board.answerers() == []
    posted = board.post("test", Question(ASKED))
    with pytest.raises(StoreError, match="nobody is left to answer"):
        list(board.events(posted, patience_s=0.3))
    assert board._link.client.xlen(board._questions) == 0


def test_answerers_are_known_while_they_are_there(server, model, board):
    workers = AnswerWorkers(config(server), model, 1)
    workers.start()
    assert board.answerers() == [workers.name]
    assert QuestionBoard(board._link, "another model").answerers() == []
    workers.stop()
    assert board.answerers() == []


def test_answering_goes_on_after_the_server_was_away(board, workers, session, server):
    server.kill()
    time.sleep(0.5)
    server.start()
    give_up_at = time.monotonic() + 20
    while time.monotonic() < give_up_at and board.answerers() != [workers.name]:
        time.sleep(0.1)
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"
    assert workers.failure is None


def test_a_bug_in_answering_is_told_and_ends_no_worker(monkeypatch, board, workers, session):
    def broken(answer):
        raise ZeroDivisionError("no")

    with monkeypatch.context() as patched:
        patched.setattr("vstream.stream_reader.StreamReader.ask", lambda self, asked: broken(asked))
        said = last_said(board, board.post("test", Question(ASKED)))
    assert said.kind == "error"
    assert "ZeroDivisionError" in said.text
    assert last_said(board, board.post("test", Question(ASKED))).kind == "answer"
