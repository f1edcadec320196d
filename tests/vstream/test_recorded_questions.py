"""A question that is replayed from a recording is read as in the plain pass, and goes on as one."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from decode_loop import is_recorded
from engine import FAMILIES, open_session, policy_and_config, stream_frames, tiny_video_llm
from recorded_operations import record_operations

from vstream import Question
from vstream.device.scheduler import Scheduler
from vstream.engine import view_at
from vstream.engine.cuda.decode_rows import DecodeRows
from vstream.engine.cuda.recorded_questions import RecordedQuestions, _LaidBuffer
from vstream.engine.passes import FastPath, alone, pass_together
from vstream.session import Session

QUICK = {"window_frames": 16, "window_stride": 8, "recent_frames": 4, "retrieve_blocks": 3}
TEXTS = ["what is on the table?", "who?", "how many cups are there now?", "is the dog red"]
LENGTHS = (48, 96)


@pytest.fixture(params=FAMILIES, scope="module")
def model(request):
    return tiny_video_llm(request.param)[0]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """So that the buffer of a layer grows, also in the middle of a pass."""
    monkeypatch.setattr("vstream.engine.cuda.row_buffers._SLOTS", 2)
    monkeypatch.setattr("vstream.engine.cuda.row_buffers._MORE", 1.0)


def opened(model, frames, seed, **options):
    session = open_session(model, **{**QUICK, **options})
    session.push(stream_frames(frames * model.family.frames_per_block, seed=seed))
    return session


@pytest.fixture(scope="module")
def streams(model):
    """Of different lengths: asking, under whatever settings, does not change them."""
    return [opened(model, 5 + 4 * n, seed=n) for n in range(3)]


def read(model, session, text, recorded=None, retrieved=None):
    """A question's prefill, and two more tokens in its context."""
    view = view_at(session.memory, None, session.policy.recent_blocks())
    tokens = model.family.question(text)
    work = session.questions.work(tokens, view, retrieved, max_answer_tokens=8)
    prefilled = alone(model.decoder, work) if recorded is None else through(model, work, recorded)
    more = [
        model.decoder.logits(
            model.decoder.forward(model.decoder.embed(torch.tensor([token])), prefilled.context)
        )
        for token in (7, 11)
    ]
    return prefilled, torch.cat([prefilled.logits, *more])


def replaying(model, questions):
    """Replay questions, and decode every answer plainly."""
    return FastPath(DecodeRows(model.decoder, 0).decode, questions.question)


@torch.inference_mode()
def through(model, work, recorded):
    request = next(work)
    while True:
        (reply,) = pass_together(model.decoder, [request], replaying(model, recorded))
        try:
            request = work.throw(reply) if isinstance(reply, Exception) else work.send(reply)
        except StopIteration as end:
            return end.value


def assert_alike(found, wanted):
    (prefilled, logits), (plain, plain_logits) = found, wanted
    assert prefilled.retrieved == plain.retrieved
    for query, own in zip(prefilled.queries, plain.queries, strict=True):
        torch.testing.assert_close(query, own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, plain_logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("retrieval", ["per_layer", "two_pass", "global"])
def test_questions_of_all_streams_are_read_as_in_the_plain_pass(model, streams, retrieval):
    recordings = []

    def counted(compute, device):
        recordings.append(1)
        return record_operations(compute, device)

    run = RecordedQuestions(model.decoder, LENGTHS, None)
    replayed = RecordedQuestions(model.decoder, LENGTHS, counted)
    settings = policy_and_config(model, **QUICK, retrieval=retrieval)
    sessions = [Session(model, stream.memory, *settings) for stream in streams]
    asked = [(sessions[n % 3], TEXTS[n % 4]) for n in (0, 5, 1, 2, 7, 3, 8, 6)]
    for session, text in asked:
        plain = read(model, session, text)
        for recorded in (run, replayed):
            assert_alike(read(model, session, text, recorded), plain)
    assert is_recorded(replayed)
    assert not is_recorded(run)
    assert 0 < len(recordings) < len(asked)


def test_blocks_that_are_given_are_read_in_every_layer(model, streams):
    recorded = RecordedQuestions(model.decoder, LENGTHS, record_operations)
    session = streams[2]
    for number in (1, 5, 2):
        given = [list(range((layer + number) % 6)) for layer in range(model.decoder.num_layers)]
        found = read(model, session, TEXTS[0], recorded, given)
        assert found[0].retrieved == given
        assert_alike(found, read(model, session, TEXTS[0], retrieved=given))


def test_a_scheduler_with_recordings_gives_the_same_answers(model):
    recorded = RecordedQuestions(model.decoder, LENGTHS, record_operations)
    fast = replace(model, scheduler=Scheduler(model.decoder, fast=replaying(model, recorded)))
    answers = []
    for one in (model, fast):
        session = open_session(one, **QUICK, max_answer_tokens=3)
        session.push(stream_frames(8 * one.family.frames_per_block, seed=5))
        told = [session.ask(text).answer.token_ids for text in TEXTS]
        with ThreadPoolExecutor(len(TEXTS)) as askers:
            together = list(askers.map(lambda text, s=session: s.ask(text).answer, TEXTS))
        assert [answer.token_ids for answer in together] == told
        answers.append(told)
    assert answers[0] == answers[1]
    assert is_recorded(recorded)


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


def test_a_longer_question_and_other_rules_go_the_plain_path(llama):
    recorded = RecordedQuestions(llama.decoder, (8,), record_operations)
    session = opened(llama, 6, seed=1)
    long = " ".join(["and then"] * 20)
    assert_alike(read(llama, session, long, recorded), read(llama, session, long))
    rekv = opened(llama, 6, seed=1, rekv_window_tokens=40, recent_frames=0)
    assert_alike(read(llama, rekv, "hm", recorded), read(llama, rekv, "hm"))
    assert not is_recorded(recorded)
    for _ in range(2):  # the first one tells how much it holds
        read(llama, session, "hm", recorded)
    assert is_recorded(recorded)


def test_a_card_that_cannot_record_reads_questions_all_the_same(llama):
    tries = []

    def refuse(compute, device):
        tries.append(1)
        raise RuntimeError("no capture")

    recorded = RecordedQuestions(llama.decoder, LENGTHS, refuse)
    session = opened(llama, 6, seed=1)
    for text in TEXTS:
        assert_alike(read(llama, session, text, recorded), read(llama, session, text))
    assert len(tries) == 1
    assert not recorded._recorded
    assert not recorded._laid.num_slots, "nothing is held for what is never used"


@pytest.mark.parametrize("where", ["recording", "buffer"])
def test_without_memory_questions_are_read_all_the_same(llama, monkeypatch, where):
    class NoBuffer(_LaidBuffer):
        def __init__(self, decoder, num_slots):
            if num_slots:
                raise torch.OutOfMemoryError("full")
            super().__init__(decoder, num_slots)

    def no_recording(compute, device):
        raise torch.OutOfMemoryError("full")

    record = no_recording if where == "recording" else record_operations
    recorded = RecordedQuestions(llama.decoder, LENGTHS, record)
    short, long = opened(llama, 6, seed=1), opened(llama, 20, seed=2, retrieve_blocks=14)
    read(llama, short, TEXTS[0], recorded)
    if where == "buffer":
        monkeypatch.setattr("vstream.engine.cuda.recorded_questions._LaidBuffer", NoBuffer)
    for session in (long, short, long):
        for text in TEXTS[:2]:
            assert_alike(read(llama, session, text, recorded), read(llama, session, text))
    assert not is_recorded(recorded)


def test_a_recording_that_is_outgrown_is_let_go_at_once(llama):
    recorded = RecordedQuestions(llama.decoder, LENGTHS, record_operations)
    short, long = opened(llama, 6, seed=1), opened(llama, 20, seed=2, retrieve_blocks=14)
    for _ in range(2):
        read(llama, short, TEXTS[0], recorded)
    (outgrown,) = (weakref.ref(made) for made, _ in recorded._recorded.values())
    gc.collect()
    gc.disable()
    try:
        read(llama, long, TEXTS[0], recorded)
        assert outgrown() is None
    finally:
        gc.enable()


def test_what_another_stream_has_left_in_the_buffer_is_not_seen(llama):
    recorded = RecordedQuestions(llama.decoder, LENGTHS, record_operations)
    short, long = opened(llama, 6, seed=1), opened(llama, 20, seed=2, retrieve_blocks=14)
    wanted = read(llama, short, TEXTS[0])
    for _ in range(2):
        read(llama, long, TEXTS[0], recorded)
    with torch.inference_mode():
        recorded._laid.keys[:], recorded._laid.values[:] = torch.nan, torch.inf
    assert_alike(read(llama, short, TEXTS[0], recorded), wanted)


def test_a_question_that_fails_leaves_no_trace_in_the_next(llama, monkeypatch):
    recorded = RecordedQuestions(llama.decoder, LENGTHS, record_operations)
    session = opened(llama, 9, seed=1)
    wanted = read(llama, session, TEXTS[2])
    for _ in range(2):
        read(llama, session, TEXTS[0], recorded)
    found, calls = session.memory.read, []

    def fails(layer, *arguments):
        calls.append(layer)
        if layer == 1:
            raise OSError("the disk is gone")
        return found(layer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(session.memory, "read", fails)
        with pytest.raises(OSError, match="gone"):
            read(llama, session, TEXTS[1], recorded)
    assert calls == [0, 1]
    assert_alike(read(llama, session, TEXTS[2], recorded), wanted)


def test_judgements_are_read_through_recordings_too():
    model = tiny_video_llm("llava_onevision")[0]
    recorded = RecordedQuestions(model.decoder, (256,), record_operations)
    fast = replace(model, scheduler=Scheduler(model.decoder, fast=replaying(model, recorded)))
    told = []
    for one in (model, fast):
        session = opened(one, 8, seed=2)
        assert session.ask(Question("and who?")).answer  # tells how much it holds
        told.append([session.ask(Question("who?")).answer.token_ids])
        told[-1].append(round(session.judge("tell me when a cup appears").probability, 4))
    assert told[0] == told[1]
    assert is_recorded(recorded)
