"""Questions asked from outside the process that ingests: same answers, from any shared store."""

import threading

import pytest
from engine import answer_of, configured, open_session, stream_frames, tiny_video_llm

from memory import FingerprintMismatchError, MemoryConfig, StoreError
from vstream.config import VStreamConfig
from vstream.errors import QuestionError
from vstream.question import Question
from vstream.stream_reader import open_reader

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


@pytest.fixture(params=["file", "redis", "valkey", "object", "s3"])
def store(request, tmp_path):
    if request.param == "file":
        return f"file://{tmp_path}"
    return request.getfixturevalue(f"{request.param}_server").url


def reader_of(store, model, **engine):
    config = VStreamConfig(memory=MemoryConfig(store=store), **configured(**ENGINE, **engine))
    return open_reader(config, model, "test")


def test_a_reader_answers_as_the_session_does_while_the_stream_goes_on(store, model):
    with open_session(model, store=store, **ENGINE) as session:
        session.push(stream_frames(7))
        with reader_of(store, model) as reader:
            assert answer_of(reader, ASKED) == answer_of(session, ASKED)
            session.push(stream_frames(6, start=7))
            then = Question(ASKED, 6.0)
            assert answer_of(reader, ASKED) == answer_of(session, ASKED)
            assert answer_of(reader, then) == answer_of(session, then)
            assert answer_of(reader, then) != answer_of(reader, ASKED)


def test_a_reader_answers_as_the_session_did_when_the_session_is_gone(store, model):
    with open_session(model, store=store, **ENGINE) as session:
        session.push(stream_frames(9))
        expected = answer_of(session, ASKED)
        judged = session.judge("is there a table?")
    with reader_of(store, model) as reader:
        assert answer_of(reader, ASKED) == expected
        assert reader.judge("is there a table?").probability == judged.probability


def test_many_threads_may_ask_one_reader_while_the_stream_is_written_and_forgotten(store, model):
    failures = []

    def ask_often(reader):
        try:
            for _ in range(6):
                assert reader.ask(ASKED).answer.evidence
        except Exception as failure:  # noqa: BLE001  told below, in the test's own thread
            failures.append(failure)

    with open_session(model, store=store, **ENGINE) as session:
        session.push(stream_frames(8))
        with reader_of(store, model) as reader:
            threads = [threading.Thread(target=ask_often, args=(reader,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for number in range(8, 20, 2):
                session.push(stream_frames(2, start=number))
                with model.turn:
                    session.memory.forget(number - 7.5, number - 6.5)
            for thread in threads:
                thread.join()
    assert not failures


def test_a_reader_of_a_stream_without_blocks_says_so(store, model):
    with (
        open_session(model, store=store, **ENGINE),
        reader_of(store, model) as reader,
        pytest.raises(QuestionError),
    ):
        reader.ask(ASKED)


def test_blocks_of_another_model_are_refused_by_name(store, model):
    with open_session(model, store=store, **ENGINE) as session:
        session.push(stream_frames(4))
    other = tiny_video_llm("qwen2")[0]
    with pytest.raises(FingerprintMismatchError, match=r"tiny-llama.*tiny-qwen2"):
        reader_of(store, other)


def test_a_stream_that_is_not_there_is_said_to_be_missing(store, model):
    with pytest.raises(StoreError, match="test"):
        reader_of(store, model)


def test_memory_of_another_process_cannot_be_read(model):
    with pytest.raises(StoreError, match="memory://"):
        reader_of("memory://", model)
