"""What is recorded is a chain of operations with the processor's work in between, nothing else."""

import gc
import weakref
from typing import ClassVar

import pytest
import torch
from recorded_operations import record_operations

from vstream.engine.cuda.recording import GraphChain, run_anew

CPU = torch.device("cpu")


@pytest.mark.parametrize("record", [run_anew, record_operations])
def test_a_replay_reads_the_buffers_as_they_are_then(record):
    buffer, told = torch.zeros(3), []

    def run(cut):
        doubled = buffer * 2
        cut(lambda: told.append(doubled.tolist()))
        doubled[1:] += 1
        return doubled + buffer

    replay = record(run, CPU)
    told.clear()
    buffer[:] = torch.tensor([1.0, 2.0, 3.0])
    assert replay().tolist() == [3, 7, 10]
    buffer[0] = 5
    assert replay().tolist() == [15, 7, 10]
    assert told == [[2, 4, 6], [10, 4, 6]]


def test_the_recording_keeps_no_python():
    calls = []

    def run(cut):
        calls.append(1)
        return torch.full((2,), float(len(calls)))

    replay = record_operations(run, CPU)
    assert replay().tolist() == replay().tolist() == [3, 3]
    assert len(calls) == 3


def test_what_the_processor_would_wait_for_cannot_be_recorded():
    buffer = torch.arange(4.0)
    for run in (
        lambda cut: buffer * float(buffer[0]),
        lambda cut: buffer[buffer > 1],
        lambda cut: buffer.nonzero(),
    ):
        with pytest.raises(RuntimeError, match="capturing"):
            record_operations(run, CPU)


class _Graph:
    """Notes when it is recorded and replayed."""

    notes: ClassVar[list[str]] = []
    fails_at_end = False

    def __init__(self):
        self.number = len(self.notes)

    def capture_begin(self, pool, capture_error_mode):
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        self.notes.append("begin")

    def capture_end(self):
        self.notes.append("end")
        if self.fails_at_end:
            raise RuntimeError("capture was invalidated")

    def replay(self):
        self.notes.append("replay")


@pytest.fixture
def notes(monkeypatch):
    monkeypatch.setattr(_Graph, "notes", [])
    monkeypatch.setattr("torch.cuda.CUDAGraph", _Graph)
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: "pool")
    return _Graph.notes


def test_graphs_and_what_is_done_between_them_come_in_order(notes):
    def compute(cut):
        for number in range(2):
            notes.append(f"layer {number}")
            cut(lambda number=number: notes.append(f"between {number}"))
        return torch.ones(1)

    chain = GraphChain()
    assert chain.record(compute).tolist() == [1]
    assert notes == ["begin", "layer 0", "end", "begin", "layer 1", "end", "begin", "end"]
    notes.clear()
    for part in chain.parts:
        part()
    assert notes == ["replay", "between 0", "replay", "between 1", "replay"]


def test_what_was_recorded_stays_where_it_is_for_as_long_as_it_is_replayed(notes):
    """Graphs know addresses: what a computation reads must not make room for anything else."""

    class Pass:
        def __init__(self):
            self.numbers = torch.arange(4)

        def compute(self, cut):
            return self.numbers + 1

    recorded = Pass()
    numbers = weakref.ref(recorded.numbers)
    chain = GraphChain()
    chain.record(recorded.compute)
    del recorded
    gc.collect()
    assert numbers() is not None
    del chain
    gc.collect()
    assert numbers() is None


@pytest.mark.parametrize("fails_at_end", [False, True])
def test_where_recording_fails_nothing_is_recorded_on(notes, monkeypatch, fails_at_end):
    """Torch tells its allocator only where the card had not given up before."""
    told = []
    monkeypatch.setattr(_Graph, "fails_at_end", fails_at_end)
    monkeypatch.setattr("torch.cuda.current_device", lambda: 3)
    name = "torch._C._cuda_endAllocateToPool"
    monkeypatch.setattr(name, lambda *ended: told.append(ended), raising=False)

    def compute(cut):
        raise RuntimeError("not permitted")

    with pytest.raises(RuntimeError, match="not permitted"):
        GraphChain().record(compute)
    assert notes == ["begin", "end"]
    assert told == ([(3, "pool")] if fails_at_end else [])
