"""What is recorded is a chain of operations with the processor's work in between, nothing else."""

import pytest
import torch
from recorded_operations import record_operations

from vstream.engine.recording import not_recorded

CPU = torch.device("cpu")


@pytest.mark.parametrize("record", [not_recorded, record_operations])
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
    assert replay().tolist() == replay().tolist() == [1, 1]
    assert len(calls) == 1


def test_what_the_processor_would_wait_for_cannot_be_recorded():
    buffer = torch.arange(4.0)
    for run in (
        lambda cut: buffer * float(buffer[0]),
        lambda cut: buffer[buffer > 1],
        lambda cut: buffer.nonzero(),
    ):
        with pytest.raises(RuntimeError, match="capturing"):
            record_operations(run, CPU)
