"""Captions are made while a stream is pushed, kept with it, and read as text."""

from dataclasses import replace

import numpy as np
import pytest
from engine import open_session, stream_frames, tiny_video_llm

from encoders import Turn
from memory import MemoryConfig, PolicyError, open_stored, policy_named
from memory.policies.policy import ModelShape
from vstream.question import Question

ASKED = "when was there a red car?"
TOLD = "what do you see now?"


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llava_onevision")[0]


def opened(model, policy="captions", **options):
    return open_session(model, codec="exact", max_answer_tokens=5, policy=policy, **options)


def texts(session):
    state = session.memory.state
    return {int(name): value.partition(b"\0")[0].decode() for name, value in state.items()}


def test_one_is_made_in_the_last_second_of_every_ten_from_the_newest_frames(model):
    with opened(model) as session, opened(model, "default", retrieve_blocks=0) as plain:
        for start, end in ((0, 7), (7, 21), (21, 30)):
            session.push(stream_frames(end - start, start=start))
        plain.push(stream_frames(30))
        assert texts(session) == {
            at_s: plain.ask(Question(TOLD, float(at_s))).answer.text for at_s in (9, 19, 29)
        }


def test_they_are_read_as_turns_before_the_question(model):
    with opened(model, read=2) as session, opened(model, "default", retrieve_blocks=0) as plain:
        session.push(stream_frames(45))
        plain.push(stream_frames(45))
        vectors = session.policy.shape.sentence_vectors
        told = texts(session)
        lines = [f"0h00m{at_s:02d}s: {text}" for at_s, text in told.items()]
        best = np.argsort(-vectors(lines) @ vectors([ASKED])[0], kind="stable")[:2]
        turns = tuple(
            Turn(f"what did you see at 0h00m{at_s:02d}s?", told[at_s])
            for at_s in sorted(list(told)[at] for at in best)
        )
        answer = plain.ask(Question(ASKED, dialogue=turns)).answer
        assert session.ask(ASKED).answer.token_ids == answer.token_ids


def test_they_stand_before_the_words_for_a_model_that_reads_no_dialogue(model, monkeypatch):
    recommended = replace(model.family.recommended, reads_dialogue=False)
    as_told = {"retrieve_blocks": 0, "follow_times": False}
    with opened(model) as session, opened(model, "default", **as_told) as plain:
        session.push(stream_frames(12))
        plain.push(stream_frames(12))
        [text] = texts(session).values()
        answer = plain.ask(f"at 0h00m09s: {text}. {ASKED}").answer
        monkeypatch.setattr(model.family, "recommended", recommended)
        assert session.ask(ASKED).answer.token_ids == answer.token_ids


def test_they_are_kept_no_longer_than_is_configured(model):
    with opened(model, retain_s=20) as session:
        for start in range(0, 60, 10):
            session.push(stream_frames(10, start=start))
        assert sorted(texts(session)) == [39, 49, 59]


def test_none_from_later_is_read(model):
    with opened(model) as session:
        session.push(stream_frames(30))
        earlier = Question(ASKED, 15.0)
        before = session.ask(earlier).answer.token_ids
        session.push(stream_frames(10, start=30))
        assert session.ask(earlier).answer.token_ids == before


def test_they_outlive_their_blocks_and_the_process(model, tmp_path):
    store = f"file://{tmp_path}"
    with opened(model, store=store) as session:
        session.push(stream_frames(200))
        assert session.memory.first_block > 50
        kept = texts(session)
        assert list(kept) == list(range(9, 200, 10))
        answer = session.ask(ASKED).answer.token_ids
    with opened(model, store=store) as session:
        assert texts(session) == kept
        assert session.ask(ASKED).answer.token_ids == answer


def test_one_that_a_crash_took_is_made_again(model, tmp_path):
    store = f"file://{tmp_path}"
    with opened(model, store=store) as session:
        session.push(stream_frames(31))
        kept = texts(session)
        session.memory.note_state({"000000029": None})
    with opened(model, store=store) as session:
        session.push(stream_frames(1, start=31))
        assert texts(session) == kept


def test_a_gap_in_the_stream_is_not_described(model):
    with opened(model) as session:
        session.push(stream_frames(5))
        session.push(stream_frames(5, start=1000))
        assert list(texts(session)) == [9]


def test_what_is_forgotten_is_not_told_of(model):
    with opened(model) as session:
        session.push(stream_frames(90))
        session.forget(20.0, 30.0)
        seen_s = 10 + session.policy.shape.recent_frames
        assert list(texts(session)) == [
            at_s for at_s in range(9, 90, 10) if not 20 <= at_s <= 30 + seen_s
        ]


@pytest.mark.parametrize("knows_policy", [True, False])
def test_nor_where_nobody_has_the_stream_open(model, tmp_path, knows_policy):
    store = f"file://{tmp_path}"
    with opened(model, store=store) as session:
        session.push(stream_frames(90))
        policy = session.policy
        kept = set(texts(session))
    config = MemoryConfig(store=store)
    with open_stored(config, "test", policy if knows_policy else None) as memory:
        memory.forget(20.0, 30.0)
    with open_stored(config, "test") as memory:
        left = {int(name) for name in memory.state}
    seen_s = 10 + policy.shape.recent_frames
    told = {at_s for at_s in kept if not 20 <= at_s <= 30 + seen_s}
    assert left == (told if knows_policy else set())


def test_it_is_refused_where_sentences_cannot_be_compared():
    with pytest.raises(PolicyError, match=r"pip install 'vstream\[eval\]'"):
        policy_named("captions", ModelShape(), {})
