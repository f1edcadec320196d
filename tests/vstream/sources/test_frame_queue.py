"""FrameQueue: bounded, the newest wins, every loss counted."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders import Frame
from vstream.sources.frame_queue import FrameQueue


def frame(number: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), dtype=np.uint8), float(number), 0.0)


@given(st.integers(1, 5), st.integers(0, 20))
def test_a_full_queue_holds_the_newest_frames_and_counts_the_rest(max_frames, num_frames):
    queue = FrameQueue(max_frames)
    for number in range(num_frames):
        queue.put(frame(number))
    queue.end()
    got = [f.stream_s for f in queue]
    assert got == list(range(num_frames))[-max_frames:]
    assert queue.num_dropped == num_frames - len(got)


def test_the_reader_gets_what_waits_before_the_error():
    queue = FrameQueue(2)
    queue.put(frame(1))
    queue.end(ValueError("broken"))
    frames = iter(queue)
    assert next(frames).stream_s == 1
    with pytest.raises(ValueError, match="broken"):
        next(frames)


def test_a_discarded_queue_gives_nothing_more():
    queue = FrameQueue(2)
    queue.put(frame(1))
    queue.discard()
    queue.put(frame(2))
    assert list(queue) == []


def test_ending_wakes_a_waiting_reader():
    queue = FrameQueue(2)
    threading.Timer(0.05, queue.end).start()
    assert list(queue) == []
