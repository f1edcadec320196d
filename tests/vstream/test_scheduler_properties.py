import threading
from concurrent.futures import CancelledError
from dataclasses import dataclass

import pytest
import torch
from engine import tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st

from vstream.device.scheduler import MAX_PREFILLS, PATIENCE_ROUNDS, Limits, Scheduler
from vstream.device.work import WorkKind
from vstream.engine.passes import Pass
from vstream.errors import BusyError

INGEST_BLOCKS = 8


@pytest.fixture(scope="module")
def decoder():
    return tiny_video_llm("llama")[0].decoder


@dataclass(eq=False)
class _Planned:
    """A work, when it comes, and in which rounds it took part."""

    kind: WorkKind
    passes: int
    blocks: int
    arrives: int
    ends_by: str
    cancel_after: int
    job: object = None
    is_refused: bool = False
    submitted: int | None = None
    begun: int | None = None
    cancelled: int | None = None

    def __post_init__(self):
        self.rounds = []


works = st.builds(
    _Planned,
    kind=st.sampled_from(WorkKind),
    passes=st.integers(0, 5),
    blocks=st.integers(1, 10),
    arrives=st.integers(0, 12),
    ends_by=st.sampled_from(["itself"] * 6 + ["raising", "a failing step", "cancellation"]),
    cancel_after=st.integers(0, 3),
)


class _Course:
    """Puts planned works to a scheduler, each between two certain rounds, until all have ended."""

    def __init__(self, decoder, planned, limits):
        self._decoder = decoder
        self._planned = planned
        self._scheduler = Scheduler(decoder, limits)
        self._scheduler.on_round = self._after_round
        self._over = threading.Event()
        self.number = 0

    def run(self):
        with self._scheduler.turn:
            self._arrive()
        assert self._over.wait(30), "some work has never ended"

    def _after_round(self, done):
        self.number += 1
        self._arrive()

    def _arrive(self):
        while True:
            for one in self._planned:
                if one.submitted is None and one.arrives <= self.number:
                    self._submit(one)
            self._cancel_some()
            if self._scheduler._jobs():
                return
            if all(one.submitted is not None for one in self._planned):
                self._over.set()
                return
            self.number += 1  # nothing to do: time goes on

    def _submit(self, one):
        one.submitted = self.number
        try:
            one.job = self._scheduler.submit(self._work(one), one.kind, one.blocks)
        except BusyError:
            one.is_refused = True

    def _cancel_some(self):
        for one in self._planned:
            is_due = one.submitted is not None and one.submitted + one.cancel_after <= self.number
            if one.ends_by == "cancellation" and is_due and one.job and one.cancelled is None:
                one.cancelled = self.number
                one.job.cancel()

    def _work(self, one):
        one.begun = self.number
        fails_at = one.passes - 1 if one.ends_by == "a failing step" else None
        for number in range(one.passes):
            step = _Step(self, one, number == fails_at)
            yield Pass(self._decoder.embed(torch.tensor([1])), step)
        if one.ends_by == "raising":
            raise ValueError("as planned")
        return one


class _Step:
    def __init__(self, course, of, fails):
        self._course = course
        self._of = of
        self._fails = fails

    def attend(self, layer, queries, keys, values, scale):
        if layer == 0:
            self._of.rounds.append(self._course.number)
        if self._fails and layer == 1:
            raise OSError("as planned")
        return torch.zeros_like(queries)


@settings(max_examples=150)
@given(st.lists(works, max_size=40), st.integers(1, 6), st.integers(0, 6))
def test_whatever_comes_all_ends_and_nobody_is_kept_waiting(
    decoder, planned, max_running, max_waiting
):
    course = _Course(decoder, planned, Limits(max_running, max_waiting, INGEST_BLOCKS))
    course.run()
    taken = [one for one in planned if not one.is_refused]
    for one in taken:
        _check_end(one)
    assert all(one.kind is WorkKind.ASK for one in planned if one.is_refused)
    for number in range(course.number):
        began = {
            kind: [one for one in taken if one.kind is kind and one.begun == number]
            for kind in WorkKind
        }
        running = [one for one in taken if one.kind is WorkKind.ASK and number in one.rounds]
        assert len(running) <= max_running
        assert len(began[WorkKind.ASK]) + len(began[WorkKind.JUDGE]) <= MAX_PREFILLS
        blocks = sum(one.blocks for one in began[WorkKind.INGEST])
        assert len(began[WorkKind.INGEST]) <= 1 or blocks <= INGEST_BLOCKS
    _check_turns(course, taken, max_running)
    _check_descriptions(course, taken)


def _check_descriptions(course, taken):
    """One takes part beside others only after they have kept all of them waiting for long."""
    others = {WorkKind.ASK, WorkKind.JUDGE, WorkKind.INGEST}
    described = [-1]
    for number in range(course.number):
        passing = {one.kind for one in taken if number in one.rounds}
        if WorkKind.DESCRIBE in passing:
            assert number - described[-1] > PATIENCE_ROUNDS or not passing & others
            described.append(number)


def _check_end(one):
    assert one.job.done()
    try:
        assert one.job.result() is one
        assert one.ends_by in ("itself", "cancellation") or not one.passes
        assert len(one.rounds) == one.passes
    except CancelledError:
        assert one.ends_by == "cancellation"
        assert all(number < one.cancelled for number in one.rounds), "a pass after cancellation"
    except ValueError:
        assert one.ends_by == "raising"
    except OSError:
        assert one.ends_by == "a failing step"


def _check_turns(course, taken, max_running):
    """Nobody waits for two rounds in which somebody else of another kind got everything."""
    begun = [
        {
            kind: [one for one in taken if one.kind is kind and one.begun == number]
            for kind in WorkKind
        }
        for number in range(course.number)
    ]
    for number in range(course.number):
        waited = [
            {
                kind
                for kind in WorkKind
                if any(
                    one.kind is kind
                    and one.submitted <= place
                    and (one.begun is None or one.begun >= place)
                    and (one.cancelled is None or one.cancelled > place)
                    for one in taken
                )
            }
            for place in (number, number + 1)
        ]
        began = begun[number]
        asking = sum(
            one.kind is WorkKind.ASK and number in one.rounds and one.begun < number
            for one in taken
        )
        if WorkKind.ASK in waited[0] and asking < max_running:
            assert began[WorkKind.ASK], "there was room for a question"
        if number + 1 == course.number:
            break
        for kind in (WorkKind.JUDGE, WorkKind.INGEST):
            if kind in waited[0] & waited[1]:
                assert began[kind] or begun[number + 1][kind], f"{kind} twice in vain"
        if begun[number + 1][WorkKind.ASK]:
            chunks = began[WorkKind.INGEST] and begun[number + 1][WorkKind.INGEST]
            assert not chunks, "a question behind two chunks"
    for kind in WorkKind:
        order = [one for one in taken if one.kind is kind and one.begun is not None]
        order.sort(key=lambda one: one.submitted)
        assert [one.begun for one in order] == sorted(one.begun for one in order)
