"""StreamClock: one rising time from cameras that start again, leap or say nothing."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vstream.sources.stream_clock import StreamClock

readings = st.lists(
    st.tuples(st.none() | st.floats(-1e6, 1e6), st.floats(0, 100), st.booleans()),
    min_size=2,
    max_size=20,
)


@given(readings, st.floats(0, 1e5))
def test_time_rises_whatever_the_camera_does(frames, start_s):
    clock, arrival_s, times_s = StreamClock(start_s), 1000.0, []
    for pts_s, passed_s, reconnects in frames:
        arrival_s += passed_s
        if reconnects:
            clock.disconnect()
        times_s.append(clock.advance(pts_s, arrival_s))
    assert times_s[0] == start_s
    assert all(earlier < later for earlier, later in pairwise(times_s))


def test_within_a_connection_the_cameras_own_clock_counts():
    clock = StreamClock()
    arrivals_s = [10.0, 10.25, 10.26, 10.5]
    times_s = [clock.advance(7 + i / 10, arrival_s) for i, arrival_s in enumerate(arrivals_s)]
    assert times_s == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_gap_between_connections_lasts_as_long_as_by_the_wall():
    clock = StreamClock()
    clock.advance(50.0, 100.0)
    clock.advance(51.0, 101.0)
    clock.disconnect()
    assert clock.advance(0.0, 121.0) == pytest.approx(21.0)
    assert clock.advance(0.5, 121.5) == pytest.approx(21.5)


@pytest.mark.parametrize("reset_s", [-50.0, 0.0, 51.0, 1e6])
def test_a_camera_clock_that_is_reset_is_bridged_by_the_wall(reset_s):
    clock = StreamClock()
    clock.advance(50.0, 100.0)
    clock.advance(51.0, 101.0)
    assert clock.advance(reset_s, 101.2) == pytest.approx(1.2)
    assert clock.advance(reset_s + 0.1, 101.3) == pytest.approx(1.3)


def test_frames_without_times_go_by_their_arrival():
    clock = StreamClock(start_s=5.0)
    assert [clock.advance(None, 3.0 + i / 4) for i in range(3)] == pytest.approx([5.0, 5.25, 5.5])


def test_a_server_that_begins_with_the_last_seconds_puts_the_clock_ahead_but_once():
    """As restreamers do, so that a client has a key frame at once."""
    clock, arrival_s, ahead_s = StreamClock(), 100.0, []
    for _ in range(20):
        for number in range(41):  # four seconds at once
            stream_s = clock.advance(number / 10, arrival_s)
        for number in range(41, 100):  # and on, as it is filmed
            arrival_s += 0.1
            stream_s = clock.advance(number / 10, arrival_s)
        ahead_s.append(stream_s - (arrival_s - 100.0))
        clock.disconnect()
        arrival_s += 1.0
    assert max(ahead_s) <= 4.5 + 1e-3
