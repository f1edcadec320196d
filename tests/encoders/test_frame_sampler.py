"""FrameSampler: the rate it keeps, and that only still pictures are skipped."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from encoders.frame import Frame
from encoders.frame_sampler import FrameSampler

times = st.lists(st.floats(0, 1000), min_size=1, max_size=60).map(sorted)
rates = st.floats(0.1, 30)
pictures = arrays(np.uint8, (32, 48, 3))


def frame(pixels: np.ndarray, stream_s: float = 0.0) -> Frame:
    return Frame(pixels, stream_s, captured_at=stream_s)


def grey(level: int = 100, height: int = 96, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), level, dtype=np.uint8)


def test_a_steady_stream_is_sampled_at_the_asked_rate():
    sampler = FrameSampler(sample_fps=2.0)
    chosen = [i for i in range(300) if sampler.wants(i / 30)]
    assert chosen == list(range(0, 300, 15))


def test_a_rate_above_the_streams_takes_every_frame():
    sampler = FrameSampler(sample_fps=60.0)
    assert all(sampler.wants(i / 30) for i in range(100))


@given(times, rates)
def test_each_tick_gives_its_first_frame_and_no_other(stream_times, fps):
    sampler = FrameSampler(fps)
    chosen = [t for t in stream_times if sampler.wants(t)]
    ticks = [int((t + 1e-6) * fps) for t in chosen]
    assert ticks == sorted({int((t + 1e-6) * fps) for t in stream_times})


@given(times, rates)
def test_no_burst_follows_a_gap(stream_times, fps):
    sampler = FrameSampler(fps)
    chosen = [t for t in stream_times if sampler.wants(t)]
    for start_s in chosen:
        within = [t for t in chosen if start_s <= t < start_s + 1 / fps]
        assert len(within) <= 2


def test_jitter_does_not_change_the_mean_rate():
    noise = np.random.default_rng(0).uniform(-0.02, 0.02, 3000)
    sampler = FrameSampler(sample_fps=5.0)
    chosen = [t for t in np.arange(3000) / 25 + 0.03 + noise if sampler.wants(t)]
    assert len(chosen) == pytest.approx(120 * 5, abs=1)
    assert max(b - a for a, b in pairwise(chosen)) < 2 / 5


def test_a_stream_resumed_after_a_time_wants_nothing_up_to_it():
    sampler = FrameSampler(sample_fps=1.0, after_s=10.0)
    assert not sampler.wants(10.0)
    assert not sampler.wants(10.9)
    assert sampler.wants(11.0)


def test_a_still_picture_is_kept_once_and_then_counted_as_a_duplicate():
    sampler = FrameSampler(1.0, dedup_threshold=1.5)
    kept = [sampler.keep(frame(grey(), float(t))) for t in range(5)]
    assert kept == [True, False, False, False, False]
    assert (sampler.num_seen, sampler.num_duplicates) == (5, 4)


def test_what_was_forgotten_is_compared_with_nothing():
    sampler = FrameSampler(1.0, dedup_threshold=1.5)
    assert sampler.keep(frame(grey(), 0.0))
    sampler.keep_next()
    assert [sampler.keep(frame(grey(), float(t))) for t in (1, 2)] == [True, False]


def test_an_unchanged_picture_is_kept_again_after_the_longest_gap():
    sampler = FrameSampler(1.0, dedup_threshold=1.5, max_gap_s=10.0)
    kept = [t for t in range(35) if sampler.keep(frame(grey(), float(t)))]
    assert kept == [0, 10, 20, 30]


def test_a_threshold_of_zero_keeps_every_frame():
    sampler = FrameSampler(1.0, dedup_threshold=0.0)
    assert all(sampler.keep(frame(grey(), float(t))) for t in range(5))


@given(
    row=st.integers(0, 15),
    column=st.integers(0, 15),
    threshold=st.floats(0.5, 40),
    picture=pictures,
)
def test_a_change_of_the_threshold_in_one_cell_is_always_kept(row, column, threshold, picture):
    before = picture.repeat(3, axis=0).repeat(5, axis=1).clip(0, 200)  # 96 x 240: 6 x 15 a cell
    after = before.copy()
    after[row * 6 : row * 6 + 6, column * 15 : column * 15 + 15] += int(np.ceil(threshold)) + 1
    sampler = FrameSampler(1.0, threshold)
    sampler.keep(frame(before, 0.0))
    assert sampler.keep(frame(after, 1.0))


@given(level=st.integers(0, 250), threshold=st.floats(2, 40))
def test_a_change_below_the_threshold_everywhere_is_never_kept(level, threshold):
    sampler = FrameSampler(1.0, threshold)
    sampler.keep(frame(grey(level), 0.0))
    smaller = min(255, level + int(threshold - 1e-3))
    assert not sampler.keep(frame(grey(smaller), 1.0))


def test_a_small_thing_entering_a_large_still_scene_is_kept():
    sampler = FrameSampler(1.0)
    before = grey(height=360, width=640)
    after = before.copy()
    after[200:216, 300:308] += 30  # a distant person: 0.06 % of the picture
    sampler.keep(frame(before, 0.0))
    assert sampler.keep(frame(after, 1.0))


def test_a_lamp_that_turns_from_red_to_green_is_kept():
    sampler = FrameSampler(1.0)
    red, green = grey(0), grey(0)
    red[40:52, 60:72, 0] = 200
    green[40:52, 60:72, 1] = 200
    sampler.keep(frame(red, 0.0))
    assert sampler.keep(frame(green, 1.0))


def test_sensor_noise_in_a_still_scene_is_skipped():
    random = np.random.default_rng(0)
    sampler = FrameSampler(1.0)

    def noisy() -> np.ndarray:
        return (100 + random.normal(0, 4, (360, 640, 3))).round().astype(np.uint8)

    sampler.keep(frame(noisy(), 0.0))
    assert not any(sampler.keep(frame(noisy(), float(t))) for t in range(1, 10))


def test_slow_changes_add_up_until_a_frame_is_kept():
    sampler = FrameSampler(1.0, dedup_threshold=4.0)
    kept = [t for t in range(13) if sampler.keep(frame(grey(100 + t), float(t)))]
    assert kept == [0, 4, 8, 12]


def test_a_new_picture_size_is_kept():
    sampler = FrameSampler(1.0)
    sampler.keep(frame(grey(height=48, width=48), 0.0))
    assert sampler.keep(frame(grey(height=96, width=48), 1.0))


@given(height=st.integers(1, 130), width=st.integers(1, 130))
def test_pictures_of_any_size_are_compared(height, width):
    sampler = FrameSampler(1.0)
    assert sampler.keep(frame(grey(10, height, width), 0.0))
    assert not sampler.keep(frame(grey(10, height, width), 1.0))
    assert sampler.keep(frame(grey(20, height, width), 2.0))
