import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from engine import answer_of, open_session, stream_frames, tiny_video_llm
from processes import Process

from vstream.decoding.token_choice import TokenChoice
from vstream.device.asker import Asker
from vstream.device.scheduler import MAX_PREFILLS, Limits, Scheduler
from vstream.device.shares import Holder
from vstream.device.work import Job, WorkKind
from vstream.engine.passes import Pass
from vstream.errors import BusyError

QUICK = {"window_frames": 8, "window_stride": 4, "recent_frames": 4, "retrieve_blocks": 2}


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


class _Recorder:
    """Works that say in which round they took part: a scheduler that is held until all wait."""

    def __init__(self, model, **limits):
        self._decoder = model.decoder
        self.scheduler = Scheduler(model.decoder, Limits(**limits))
        self._rounds = []
        self._now = []
        self.scheduler.on_round = self._end_round

    def _end_round(self, done):
        self._rounds.append(list(self._now))
        self._now.clear()

    @property
    def rounds(self):
        """Who took part in each round that was; a round is told of shortly after its works."""
        while self._now:
            time.sleep(0.001)
        return self._rounds

    def work(self, name, passes):
        def steps():
            for _ in range(passes):
                yield Pass(self._decoder.embed(torch.tensor([1])), _Noted(name, self._now))
            return name

        return steps()

    def held(self):
        """While held nothing begins."""
        return self.scheduler.turn


class _Noted:
    """A step that writes down that it took part."""

    def __init__(self, name, now):
        self._name = name
        self._now = now

    def attend(self, layer, queries, keys, values, scale):
        if layer == 0:
            self._now.append(self._name)
        return torch.zeros_like(queries)


def _submit(recorder, kind, names, passes=1, blocks=0):
    return [recorder.scheduler.submit(recorder.work(name, passes), kind, blocks) for name in names]


def test_answers_of_all_askers_are_decoded_in_one_batch(model):
    recorder = _Recorder(model)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.ASK, "abc", passes=4)
    assert [job.result() for job in jobs] == list("abc")
    assert recorder.rounds[:4] == [["a", "b", "c"]] * 4


def test_a_question_waits_behind_one_chunk_at_most_and_chunks_run_in_every_second_round(model):
    recorder = _Recorder(model, ingest_blocks=1)
    with recorder.held():
        chunks = _submit(recorder, WorkKind.INGEST, ["chunk"] * 6, blocks=1)
        asked = _submit(recorder, WorkKind.ASK, [f"q{n}" for n in range(12)])
    for job in chunks + asked:
        job.result()
    rounds = recorder.rounds
    assert "chunk" not in rounds[0]
    assert [("chunk" in done) for done in rounds[:4]] == [False, True, False, True][: len(rounds)]
    assert sum(done.count("chunk") for done in rounds) == 6
    first_question = min(i for i, done in enumerate(rounds) if "q0" in done)
    assert first_question == 0


def test_questions_begin_in_the_order_of_arrival_a_few_a_round(model):
    recorder = _Recorder(model)
    names = [f"q{n}" for n in range(10)]
    with recorder.held():
        jobs = _submit(recorder, WorkKind.ASK, names)
    for job in jobs:
        job.result()
    assert [name for done in recorder.rounds for name in done] == names
    assert max(len(done) for done in recorder.rounds) == MAX_PREFILLS


def test_standing_questions_get_what_is_left_and_are_never_forgotten(model):
    recorder = _Recorder(model)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.ASK, ["q"] * 12)
        jobs += _submit(recorder, WorkKind.JUDGE, ["j"] * 3)
    for job in jobs:
        job.result()
    judged = [done.count("j") for done in recorder.rounds]
    assert sum(judged) == 3
    assert any(judged[:2])


def test_descriptions_run_when_nobody_else_wants_anything_and_rest_meanwhile(model):
    recorder = _Recorder(model)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.DESCRIBE, ["d"] * 6, passes=3)
        jobs += _submit(recorder, WorkKind.ASK, "ab", passes=4)
        jobs += _submit(recorder, WorkKind.INGEST, ["chunk"], blocks=1)
    for job in jobs:
        job.result()
    described = [done for done in recorder.rounds if "d" in done]
    assert all(set(done) == {"d"} for done in described)
    assert max(map(len, described)) == MAX_PREFILLS
    assert recorder.rounds[-len(described) :] == described, "the others came first"


def test_a_description_is_not_kept_waiting_forever(model, monkeypatch):
    monkeypatch.setattr("vstream.device.scheduler.PATIENCE_ROUNDS", 5)
    recorder = _Recorder(model)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.DESCRIBE, ["d"], passes=2)
        jobs += _submit(recorder, WorkKind.ASK, ["asked"], passes=30)
    for job in jobs:
        job.result()
    assert [place for place, done in enumerate(recorder.rounds) if "d" in done] == [5, 11]


def test_chunks_run_in_the_order_of_arrival_and_no_more_of_them_than_fit(model):
    recorder = _Recorder(model, ingest_blocks=4)
    with recorder.held():
        jobs = []
        for name, blocks in (("a", 2), ("b", 2), ("c", 8), ("d", 1), ("e", 3), ("f", 1)):
            jobs += _submit(recorder, WorkKind.INGEST, [name], blocks=blocks)
    for job in jobs:
        job.result()
    assert recorder.rounds == [["a", "b"], ["c"], ["d", "e"], ["f"]]


def test_who_hands_on_one_chunk_after_the_other_has_one_in_every_round(model, monkeypatch):
    monkeypatch.setattr("vstream.device.scheduler._MOMENT_S", 0.5)
    recorder = _Recorder(model)
    with recorder.held():
        (answering,) = _submit(recorder, WorkKind.ASK, ["answer"], passes=10_000)
    try:
        for number in range(3):
            names = [f"{number} first", f"{number} second"]
            for name in names:
                recorder.scheduler.run(recorder.work(name, 1), WorkKind.INGEST, 1)
            rounds = recorder.rounds
            places = [next(i for i, one in enumerate(rounds) if name in one) for name in names]
            assert places[1] == places[0] + 1
    finally:
        answering.cancel()
        wait([answering])


def test_a_session_that_pushes_ahead_has_a_chunk_in_every_round(model, monkeypatch):
    """Though the chunk before must be kept before the next is handed on."""
    monkeypatch.setattr("vstream.device.scheduler._MOMENT_S", 2.0)
    recorder, chunk, count = _Recorder(model), 4, 6
    rounds = []
    recorder.scheduler.on_round = lambda done: rounds.append(dict(done.works))
    own = replace(model, scheduler=recorder.scheduler)
    with open_session(own, **QUICK, chunk_frames=chunk) as session:
        with recorder.held():
            (answering,) = _submit(recorder, WorkKind.ASK, ["answer"], passes=10_000)
        try:
            for number in range(count):
                session.push_ahead(stream_frames(chunk, start=chunk * number))
            while sum(done[WorkKind.INGEST] for done in rounds) < count:
                time.sleep(0.001)
        finally:
            answering.cancel()
            wait([answering])
    having = [number for number, done in enumerate(rounds) if done[WorkKind.INGEST]]
    assert having == list(range(having[0], having[0] + count))


def test_blocks_are_kept_at_once_whatever_else_waits(model):
    recorder, kept = _Recorder(model), []

    def keep(number):
        kept.append((number, len(recorder.rounds)))
        return
        yield

    with recorder.held():
        chunks = _submit(recorder, WorkKind.INGEST, "abcd", blocks=16)
        asked = _submit(recorder, WorkKind.ASK, "wxyz", passes=2)
        keeps = [recorder.scheduler.submit(keep(n), WorkKind.KEEP) for n in range(3)]
    for job in (*keeps, *asked, *chunks):
        job.result()
    assert kept == [(0, 0), (1, 0), (2, 0)]


def test_who_waits_at_the_end_of_the_process_is_told(model):
    recorder = _Recorder(model)
    with recorder.held():
        jobs = [
            job for kind in WorkKind for job in _submit(recorder, kind, "ab", passes=2, blocks=1)
        ]
        recorder.scheduler._is_over = True
    for job in jobs:
        with pytest.raises(BusyError, match="process is ending"):
            job.result()


def test_a_question_too_many_is_refused_and_may_come_again(model):
    recorder = _Recorder(model, max_waiting=2, max_running=1)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.ASK, "ab")
        with pytest.raises(BusyError, match="2 questions are waiting"):
            _submit(recorder, WorkKind.ASK, "c")
        _submit(recorder, WorkKind.INGEST, ["chunk"], blocks=1)
    for job in jobs:
        job.result()
    assert _submit(recorder, WorkKind.ASK, "c")[0].result() == "c"


def test_each_holder_has_a_share_of_what_waits_and_runs_and_others_pass(model):
    recorder = _Recorder(model, max_waiting=8, max_running=4)
    greedy, other = Asker(Holder("greedy")), Asker(Holder("other"))

    def submit(name, asker):
        return recorder.scheduler.submit(recorder.work(name, 3), WorkKind.ASK, asker=asker)

    with recorder.held():
        jobs = [submit(name, greedy) for name in "ab"]
        with pytest.raises(BusyError, match="2 questions are waiting with this key"):
            submit("c", greedy)
        jobs.append(submit("d", other))
    assert [job.result() for job in jobs] == ["a", "b", "d"]
    assert recorder.rounds == [["a", "d"]] * 3 + [["b"]] * 3


def test_no_more_answers_run_than_may(model):
    recorder = _Recorder(model, max_running=2)
    with recorder.held():
        jobs = _submit(recorder, WorkKind.ASK, "abcde", passes=3)
    for job in jobs:
        job.result()
    assert max(len(done) for done in recorder.rounds) == 2


def test_a_cancelled_work_ends_and_takes_nobody_with_it(model):
    recorder = _Recorder(model)
    ended = threading.Event()
    with recorder.held():
        work = recorder.work("endless", 1_000_000)
        endless = recorder.scheduler.submit(work, WorkKind.ASK)
        endless.add_done_callback(lambda _: ended.set())
        (other,) = _submit(recorder, WorkKind.ASK, ["other"], passes=50)
        (never,) = _submit(recorder, WorkKind.ASK, ["never"])
        never.cancel()
    assert other.result() == "other"
    endless.cancel()
    assert ended.wait(10)
    for job in (endless, never):
        with pytest.raises(CancelledError):
            job.result()


def test_a_work_that_is_just_beginning_is_cancelled_where_its_asker_leaves(model):
    recorder, asker = _Recorder(model), Asker()

    def beginning():
        asker.leave()  # as another thread may just now
        yield from recorder.work("asked", 3)

    with pytest.raises(CancelledError):
        recorder.scheduler.submit(beginning(), WorkKind.ASK, asker=asker).result()


def test_who_left_before_asking_is_not_answered(model):
    recorder, asker = _Recorder(model), Asker()
    asker.leave()
    with recorder.held():
        job = recorder.scheduler.submit(recorder.work("asked", 3), WorkKind.ASK, asker=asker)
    with pytest.raises(CancelledError):
        job.result()
    assert not any(recorder.rounds)


def test_what_a_work_raises_is_raised_where_it_is_waited_for(model):
    def broken():
        yield Pass(model.decoder.embed(torch.tensor([1])), _Noted(None, []))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        model.scheduler.run(broken(), WorkKind.ASK)


def test_the_thread_of_an_idle_device_ends_and_begins_again(model, monkeypatch):
    monkeypatch.setattr("vstream.device.scheduler._IDLE_S", 0.01)
    recorder = _Recorder(model)
    for _ in range(3):
        assert _submit(recorder, WorkKind.ASK, "a")[0].result() == "a"
        thread = recorder.scheduler._thread
        if thread is not None:
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_many_streams_and_askers_at_once_get_what_each_would_get_alone(model):
    """Streams are told apart by their frames, and answers by their evidence."""
    wanted = {}
    for seed in range(4):
        session = open_session(model, max_answer_tokens=8, **QUICK)
        session.push(stream_frames(20, seed=seed))
        wanted[seed] = answer_of(session, "what is on the table?")[0]
    got, sessions = {}, {}

    def one(seed):
        session = sessions[seed]
        for start in range(0, 20, 2):
            session.push(stream_frames(2, start=start, seed=seed))
        got[seed] = [answer_of(session, "what is on the table?")[0] for _ in range(3)]

    for seed in range(4):
        sessions[seed] = open_session(model, max_answer_tokens=8, **QUICK)
    threads = [threading.Thread(target=one, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {seed: [answer] * 3 for seed, answer in wanted.items()}


def test_an_answer_that_nobody_listens_to_any_more_is_cancelled(model):
    session = open_session(model, max_answer_tokens=2000, **QUICK)
    session.push(stream_frames(8))
    stream = session.ask("what?")
    next(iter(stream))
    stream.cancel()
    with pytest.raises(CancelledError):
        _ = stream.answer
    assert model.scheduler.num_running == 0


def test_a_cancelled_question_that_waits_makes_room_for_another(model):
    recorder = _Recorder(model, max_running=1, max_waiting=1)
    endless = recorder.scheduler.submit(recorder.work("endless", 1_000_000), WorkKind.ASK)
    while not recorder.scheduler.num_running:
        time.sleep(0.001)
    (waiting,) = _submit(recorder, WorkKind.ASK, ["waiting"])
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result()
    (next_one,) = _submit(recorder, WorkKind.ASK, ["next"])
    endless.cancel()
    assert next_one.result() == "next"


def test_who_is_told_of_an_end_or_a_round_and_fails_harms_nobody(model):
    recorder = _Recorder(model)

    def fail(*told):
        raise OSError("nobody listens")

    recorder.scheduler.on_round = fail
    with recorder.held():
        first = recorder.scheduler.submit(recorder.work("a", 2), WorkKind.ASK)
        broken = recorder.scheduler.submit(iter(()), WorkKind.ASK)
        first.add_done_callback(fail)
        broken.add_done_callback(fail)
        (other,) = _submit(recorder, WorkKind.ASK, "b", passes=3)
    assert first.result() == "a"
    assert other.result() == "b"
    with pytest.raises(AttributeError):
        broken.result()
    assert _submit(recorder, WorkKind.ASK, "c")[0].result() == "c"


def test_a_work_that_is_interrupted_where_it_is_waited_for_has_ended_then(model, monkeypatch):
    began, ended = threading.Event(), threading.Event()

    def endless():
        try:
            while True:
                yield Pass(model.decoder.embed(torch.tensor([1])), _Noted(None, []))
                began.set()
        finally:
            ended.set()

    def interrupted(job):
        assert began.wait(10)
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.scheduler.run(endless(), WorkKind.INGEST)
    assert ended.is_set()


def test_a_round_that_fails_ends_its_works_which_clean_up_under_the_turn(model, monkeypatch):
    recorder = _Recorder(model)
    cleaned = []

    def work():
        try:
            return (yield from recorder.work("a", 2))
        finally:
            cleaned.append(threading.current_thread().name)

    with monkeypatch.context() as broken:
        broken.setattr("vstream.device.scheduler.pass_together", lambda *wanted: [])
        with pytest.raises(ValueError, match="zip"):
            recorder.scheduler.run(work(), WorkKind.INGEST)
    assert cleaned == ["device"]
    assert recorder.scheduler.run(work(), WorkKind.INGEST) == "a"


class _Big:
    """Stands for a context."""


@pytest.mark.parametrize("end", ["itself", "an error", "cancellation"])
def test_what_a_work_held_is_free_once_it_has_ended_whoever_keeps_the_job(model, end):
    held = []

    def work():
        big = _Big()
        held.append(weakref.ref(big))
        for _ in range(2):
            yield Pass(model.decoder.embed(torch.tensor([1])), _Noted(big, []))
        if end == "an error":
            raise ValueError(end)
        while end == "cancellation":
            yield Pass(model.decoder.embed(torch.tensor([1])), _Noted(big, []))

    done = threading.Event()
    gc.disable()
    try:
        job = model.scheduler.submit(work(), WorkKind.ASK)
        job.add_done_callback(lambda _: done.set())
        while end == "cancellation" and not held:
            time.sleep(0.001)
        if end == "cancellation":
            job.cancel()
        assert done.wait(10)
        with suppress(ValueError, CancelledError):
            job.result()
        model.scheduler.run(_nothing(), WorkKind.ASK)  # the round that it ended in is over
        assert held[0]() is None
    finally:
        gc.enable()


def _nothing():
    yield from ()


@pytest.mark.parametrize("end", ["itself", "an error", "cancellation"])
def test_the_context_of_an_answer_is_free_once_it_has_ended_though_nobody_read_it(
    model, monkeypatch, end
):
    session = open_session(model, max_answer_tokens=2000 if end == "cancellation" else 4, **QUICK)
    session.push(stream_frames(8))
    contexts, open_context = [], session.questions._open_context

    def noted(room):
        context = open_context(room)
        contexts.append(weakref.ref(context))
        return context

    monkeypatch.setattr(session.questions, "_open_context", noted)
    if end == "an error":
        monkeypatch.setattr(TokenChoice, "is_done", lambda choice, token: 1 / 0)
    gc.disable()
    try:
        stream = session.ask("what is on the table?")
        if end == "cancellation":
            stream.cancel()
        wait([stream._job])
        model.scheduler.run(_nothing(), WorkKind.ASK)
        assert [context() for context in contexts] == [None] * len(contexts)
        assert stream.evidence
    finally:
        gc.enable()


_ENDS_AMID_AN_ANSWER = """
import sys
sys.path.append(sys.argv[1])
from engine import open_session, stream_frames, tiny_video_llm
session = open_session(tiny_video_llm("llama")[0], max_answer_tokens=3000)
session.push(stream_frames(8))
print(next(iter(session.ask("what?"))))
"""


def test_a_process_may_end_amid_an_answer():
    support = Path(__file__).parents[1] / "support"
    ended = Process(_ENDS_AMID_AN_ANSWER, support, module="-c")
    assert (ended.wait(), ended.err) == (0, [])
    assert ended.out


@pytest.mark.parametrize("retrieval", ["two_pass", "global"])
def test_a_question_whose_blocks_go_between_its_passes_is_read_anew(model, monkeypatch, retrieval):
    session = open_session(model, max_answer_tokens=4, retrieval=retrieval, **QUICK)
    session.push(stream_frames(20))
    rounds = []

    def forget_once(done):
        rounds.append(done)
        if len(rounds) == 1:
            session.forget(0, 9)

    monkeypatch.setattr(model.scheduler, "on_round", forget_once)
    answer = session.ask("what is on the table?").answer
    assert min(one.start_s for one in answer.evidence) > 9
    assert len(answer.evidence) > QUICK["recent_frames"]
