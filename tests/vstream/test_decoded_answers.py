"""How an answer is decoded, asked for with the question."""

import json

import jsonschema
import pytest
from engine import open_session, stream_frames, tiny_video_llm

from encoders import Turn
from vstream.decoding.token_choice import Decoding
from vstream.errors import QuestionError
from vstream.models.video_llm import load_video_llm
from vstream.question import Question

QUICK = {"window_frames": 8, "window_stride": 4, "recent_frames": 4, "retrieve_blocks": 2}
SCHEMA = {
    "type": "object",
    "properties": {"there": {"type": "boolean"}, "colour": {"enum": ["red", "green"]}},
    "required": ["there", "colour"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def session():
    session = open_session(tiny_video_llm("smolvlm")[0], max_answer_tokens=8, **QUICK)
    session.push(stream_frames(8))
    return session


def ask(session, **wishes):
    return session.ask(Question("what is there?", decoding=Decoding(**wishes)))


def test_an_answer_by_a_schema_is_json_that_it_allows_piece_by_piece_too(session):
    stream = ask(session, schema=json.dumps(SCHEMA), max_tokens=200)
    text = "".join(stream)
    answer = stream.answer
    assert not answer.truncated
    assert text == answer.text
    jsonschema.validate(json.loads(text), SCHEMA)


def test_a_bad_schema_is_refused_before_anything_is_asked(session):
    with pytest.raises(QuestionError):
        ask(session, schema='{"type": "nothing"}')
    assert session.model.scheduler.num_running == 0


def test_an_answer_may_be_longer_or_shorter_than_is_usual(session):
    lengths = {
        most: len(ask(session, max_tokens=most, temperature=2.0, seed=1).answer.token_ids)
        for most in (1, 3, 30)
    }
    assert lengths[1] == 1
    assert lengths[3] <= 3
    assert lengths[30] > 8


def test_a_drawn_answer_is_the_same_for_the_same_seed(session):
    answers = [
        ask(session, max_tokens=30, temperature=1.5, seed=seed).answer.token_ids
        for seed in (7, 7, 8)
    ]
    assert answers[0] == answers[1] != answers[2]


def test_no_wish_is_the_best_token_each_time(session):
    assert ask(session).answer.token_ids == session.ask("what is there?").answer.token_ids


def test_context_stands_before_the_question_and_does_not_choose_what_it_retrieves(session):
    family = session.model.family
    bare = family.question("what is there?")
    known = family.question("what is there?", context="A shop. Staff wear green.")
    assert int(known.is_question.sum()) == int(bare.is_question.sum())
    assert len(known.embeddings) > len(bare.embeddings)
    stream = session.ask(Question("what is there?", context="A shop. Staff wear green."))
    assert stream.answer.context_tokens > session.ask("what is there?").answer.context_tokens


def test_the_embedded_model_gets_the_bare_question():
    family = load_video_llm(None, device="cpu").family
    assert not family.recommended.reads_context
    assert not family.recommended.reads_dialogue
    bare = family.question("what is there?").embeddings
    assert family.question("what is there?", context="A shop.").embeddings.equal(bare)
    earlier = [Turn("and before that?", "a cat")]
    assert family.question("what is there?", earlier).embeddings.equal(bare)
