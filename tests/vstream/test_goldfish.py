"""Clips are described behind questions, kept with the stream, found by text and read as text."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from engine import open_session, stream_frames, tiny_video_llm
from synthetic_video import write_video

from app.forget import forget_range
from app.terminal import Terminal
from encoders import Turn
from memory import MemoryConfig, PolicyError, open_memory, open_stored, policy_named
from memory.policies.policy import ModelShape
from memory.policy_hooks import Query
from vstream import VStreamConfig
from vstream import open_session as open_stream
from vstream.device.work import WorkKind
from vstream.engine.passes import Pass
from vstream.errors import QuestionError
from vstream.ingest import IngestWorker
from vstream.question import Question
from vstream.sources.config import SourceConfig
from vstream.stream_reader import open_reader

ASKED = "when was there a red car?"
CLIP_S = 10


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llava_onevision")[0]


def opened(model, policy="goldfish", **options):
    if policy == "goldfish":
        options = {"clip_s": CLIP_S, "frames": 4, **options}
    return open_session(model, codec="exact", max_answer_tokens=5, policy=policy, **options)


def clips(session):
    """The texts by the second in which their clips begin."""
    found = session.policy.found("all", session.memory.state)
    return {one.from_s: one.text for one in sorted(found, key=lambda one: one.from_s)}


def begins(until_s):
    return [float(s) for s in range(0, until_s, CLIP_S)]


def described(model, plain, from_s):
    """What the model says of all frames of a clip, read as one window."""
    asked = Question(model.family.recommended.describe_prompt, from_s + CLIP_S - 1, from_s=from_s)
    return plain.ask(asked).answer.text


@pytest.mark.parametrize("frames", [0, 4, None])
def test_a_clip_is_described_from_all_its_frames_once_it_has_ended(model, frames):
    wide = {"recent_frames": CLIP_S, "retrieve_blocks": 0}
    with opened(model, frames=frames) as session, opened(model, "default", **wide) as plain:
        for start, end in ((0, 7), (7, 20), (20, 31), (31, 39)):
            session.push(stream_frames(end - start, start=start))
        plain.push(stream_frames(39))
        assert clips(session) == {s: described(model, plain, s) for s in (0.0, 10.0, 20.0)}


def test_those_most_like_the_question_are_read_as_turns_before_it(model):
    recent = {"recent_frames": 4, "retrieve_blocks": 0}
    with opened(model, clips=2) as session, opened(model, "default", **recent) as plain:
        session.push(stream_frames(55))
        plain.push(stream_frames(55))
        vectors, told = session.policy.shape.sentence_vectors, clips(session)
        scores = vectors(list(told.values())) @ vectors([ASKED])[0]
        best = sorted(np.argsort(-scores, kind="stable")[:2])
        turns = tuple(
            Turn(f"what did you see from 0h00m{s:02.0f}s to 0h00m{s + 10:02.0f}s?", told[s])
            for s in (list(told)[at] for at in best)
        )
        answer = plain.ask(Question(ASKED, dialogue=turns, plan=False)).answer
        assert session.ask(ASKED).answer.token_ids == answer.token_ids


def test_they_stand_before_the_words_for_a_model_that_reads_no_dialogue(model, monkeypatch):
    recommended = replace(model.family.recommended, reads_dialogue=False)
    as_told = {"recent_frames": 4, "retrieve_blocks": 0, "follow_times": False}
    with opened(model) as session, opened(model, "default", **as_told) as plain:
        session.push(stream_frames(12))
        plain.push(stream_frames(12))
        told = f"from 0h00m00s to 0h00m10s: {clips(session)[0]}. {ASKED}"
        answer = plain.ask(Question(told, plan=False)).answer
        monkeypatch.setattr(model.family, "recommended", recommended)
        assert session.ask(ASKED).answer.token_ids == answer.token_ids


def test_as_in_the_paper_an_answer_may_be_given_from_text_alone(model):
    with opened(model, frames=0) as session:
        session.push(stream_frames(25))
        stream = session.ask(ASKED)
        assert not stream.evidence
        assert stream.answer.token_ids


def test_what_is_seen_no_more_is_answered_from_text(model):
    with opened(model) as session:
        session.push(stream_frames(200))
        assert session.memory.first_block > 50
        assert session.ask(Question(ASKED, 35.0)).answer.newest_frame_s == 35.0
        with pytest.raises(QuestionError, match="no longer kept"):
            session.ask(Question(ASKED, 5.0))  # nothing had been described by then


@pytest.mark.parametrize(
    ("from_s", "at_s", "read"),
    [(None, 60, [0, 10, 20, 30, 40, 50]), (None, 59, [0, 10, 20, 30, 40]), (25, 40, [20, 30])],
)
def test_a_question_reads_clips_of_its_stretch_that_were_known_to_have_ended(
    model, from_s, at_s, read
):
    with opened(model, clips=99) as session:
        session.push(stream_frames(75))
        context = session.policy.context(Query(ASKED, at_s, from_s), session.memory.state)
        assert [one.question.split()[5] for one in context.passages] == [
            f"0h00m{s:02d}s" for s in read
        ]


def test_a_gap_in_the_stream_is_not_described(model):
    with opened(model) as session:
        session.push(stream_frames(5))
        session.push(stream_frames(25, start=1000))
        assert list(clips(session)) == [0, 1000, 1010]


def test_an_earlier_answer_stays_as_it_was(model):
    with opened(model) as session:
        session.push(stream_frames(36))
        earlier = Question(ASKED, 30.0)
        before = session.ask(earlier).answer.token_ids
        session.push(stream_frames(60, start=36))
        assert session.ask(earlier).answer.token_ids == before


def test_they_outlive_their_blocks_and_the_process(model, tmp_path):
    store = f"file://{tmp_path}"
    with opened(model, store=store) as session:
        session.push(stream_frames(200))
        assert list(clips(session)) == begins(190)
        kept, answer = clips(session), session.ask(ASKED).answer.token_ids
    with opened(model, store=store) as session:
        assert clips(session) == kept
        assert session.ask(ASKED).answer.token_ids == answer


def test_one_that_a_crash_took_is_made_again_when_the_stream_is_opened(model, tmp_path):
    store = f"file://{tmp_path}"
    with opened(model, store=store) as session:
        session.push(stream_frames(31))
        kept = clips(session)
        session.memory.note_state({"000000002": None})
    with opened(model, store=store) as session:
        session.fulfil()
        assert clips(session) == kept


def test_what_is_forgotten_is_not_told_of(model):
    with opened(model) as session:
        session.push(stream_frames(95))
        session.forget(25.0, 39.0)
        session.fulfil()
        assert list(clips(session)) == [s for s in begins(90) if s not in (20, 30)]


@pytest.mark.parametrize("way", ["policy", "command", "no policy"])
def test_nor_where_nobody_has_the_stream_open(model, tmp_path, way):
    told = {"clip_s": CLIP_S, "frames": 4}
    memory = MemoryConfig(store=f"file://{tmp_path}", codec="exact")
    config = VStreamConfig(policy="goldfish", policy_set=told, memory=memory)
    with open_stream(config, model, "test") as session:
        session.push(stream_frames(95))
        policy = session.policy
    if way == "command":
        forget_range(Terminal(), config, "test", 25.0, 39.0)
    else:
        with open_stored(memory, "test", policy if way == "policy" else None) as stored:
            stored.forget(25.0, 39.0)
    with open_stored(memory, "test") as stored:
        left = [one.from_s for one in policy.found("all", stored.state)]
    wanted = [s for s in begins(90) if s not in (20, 30)] if way != "no policy" else []
    assert sorted(left) == wanted


def test_they_are_kept_no_longer_than_is_configured(model):
    with opened(model, retain_s=25) as session:
        for start in range(0, 65, 5):
            session.push(stream_frames(5, start=start))
        assert list(clips(session)) == [40, 50]  # the newest frame is at 64 s


def test_over_their_budget_the_oldest_go_and_answers_say_so(model):
    with opened(model, text_bytes=4096) as session:
        session.push(stream_frames(25))
        assert session.ask(ASKED).answer.coarser_since is None
        session.push(stream_frames(80, start=25))
        kept = clips(session)
        assert 2 < len(kept) < 10
        assert list(kept) == begins(100)[-len(kept) :]
        assert session.policy.coarser_since(session.memory.state) == min(kept)
        assert sum(map(len, session.memory.state.values())) <= 4096


class _Busy:
    """Holds the device with a question that goes on and on."""

    def __init__(self, model):
        self._model = model
        self._over = threading.Event()

    def __enter__(self):
        begun = threading.Event()
        self._job = self._model.scheduler.submit(self._work(begun), WorkKind.ASK)
        begun.wait()
        return self

    def __exit__(self, *raised):
        self._over.set()
        self._job.result()

    def _work(self, begun):
        family, step = self._model.family, _NoAttention()
        while not self._over.is_set():
            yield Pass(family.question("x").embeddings, step)
            begun.set()


class _NoAttention:
    def attend(self, layer, queries, keys, values, scale):
        return queries * 0


@pytest.fixture
def no_patience(monkeypatch):
    monkeypatch.setattr("vstream.device.scheduler.PATIENCE_ROUNDS", 1 << 30)


def push_live(session, frames):
    """As a camera's frames come: nobody waits for descriptions."""
    session.push_ahead(frames)
    session.catch_up()


def test_a_clip_waits_until_nobody_asks_and_holds_up_neither_frames_nor_questions(
    model, no_patience
):
    with opened(model) as session:
        with _Busy(model):
            push_live(session, stream_frames(25))
            assert session.memory.num_blocks == 25
            assert session.ask(ASKED).answer.token_ids
            assert clips(session) == {}
        session.fulfil()
        assert list(clips(session)) == [0, 10]


def played(model, video, chunk_frames, moments_s=()):
    """The clips that were known at these moments and in the end, as a benchmark plays a file."""
    known = []
    with opened(model, chunk_frames=chunk_frames, clip_s=5, waiting=1) as session:

        def look(frame):
            if frame.stream_s in moments_s:
                worker.flush()
                known.append(list(clips(session)))

        worker = IngestWorker(session, video, SourceConfig(dedup_threshold=0), on_seen=look)
        worker.run()
        return known, clips(session)


def test_a_file_is_described_without_loss_however_it_is_cut(model, tmp_path):
    video = str(write_video(tmp_path / "clip.mp4", num_frames=42, fps=1))
    _, told = played(model, video, 16)
    assert list(told) == list(range(0, 40, 5))
    for chunk_frames in (1, 16):
        known, again = played(model, video, chunk_frames, (23.0, 36.0))
        assert known == [[0, 5, 10, 15], [0, 5, 10, 15, 20, 25, 30]]
        assert again == told


def test_one_that_waits_too_long_is_given_up_and_counted(model, no_patience):
    with opened(model, waiting=1) as session:
        with _Busy(model):
            for start in range(0, 300, 10):
                push_live(session, stream_frames(10, start=start))
            assert session.ask(ASKED).answer.coarser_since > 200
        session.fulfil()
        kept = list(clips(session))
        assert kept
        assert kept == begins(290)[-len(kept) :]
        assert session.policy.coarser_since(session.memory.state) == kept[0]
        count, _ = session.policy.gone(session.memory.state)
        assert count == 29 - len(kept)


@pytest.mark.parametrize(("from_s", "left"), [(3.0, (0.0, 10.0)), (0.0, (10.0,))])
def test_what_was_forgotten_while_it_was_described_is_not_noted(model, monkeypatch, from_s, left):
    telling, is_forgotten = threading.Event(), threading.Event()
    wide = {"recent_frames": CLIP_S, "retrieve_blocks": 0}
    with opened(model) as session, opened(model, "default", **wide) as plain:
        answered = session.policy.answered

        def slowly(*given):
            telling.set()
            is_forgotten.wait()
            return answered(*given)

        monkeypatch.setattr(session.policy, "answered", slowly)
        push_live(session, stream_frames(25))
        telling.wait()
        session.forget(from_s, 14.0)
        is_forgotten.set()
        session.fulfil()
        plain.push(stream_frames(25))
        assert clips(session).get(0.0) != described(model, plain, 0.0)
        plain.forget(from_s, 14.0)
        assert clips(session) == {s: described(model, plain, s) for s in left}


def test_a_description_that_fails_is_given_up_and_the_stream_goes_on(model, monkeypatch):
    with opened(model) as session:
        with monkeypatch.context() as patched:
            patched.setattr(type(model.family), "question", lambda *_, **__: 1 / 0)
            session.push(stream_frames(12))
        session.push(stream_frames(12, start=12))
        assert list(clips(session)) == [10]
        assert session.policy.gone(session.memory.state) == (1, 10.0)


def test_a_stream_of_the_captions_that_it_replaced_is_refused_by_name(model, tmp_path):
    memory = MemoryConfig(store=f"file://{tmp_path}")
    decoder = model.decoder
    made = f'{model.fingerprint} fps=1 window=16/8 max_side=768 float32 policy=captions{{"read":4}}'
    open_memory(
        memory,
        stream_id="old",
        fingerprint=made,
        layers=decoder.num_layers,
        kv_heads=decoder.kv_heads,
        head_dim=decoder.head_dim,
        device=decoder.device,
    ).close()
    refused = pytest.raises(PolicyError, match=r"captions, which goldfish has replaced.*again")
    for named in (None, "goldfish", "default"):
        config = VStreamConfig(policy=named, memory=memory)
        with refused:
            open_stream(config, model, "old")
        with refused:
            open_reader(config, model, "old")


def test_it_is_refused_where_sentences_cannot_be_compared():
    with pytest.raises(PolicyError, match=r"pip install 'vstream\[captions\]'"):
        policy_named("goldfish", ModelShape(), {})
