"""No stream that anything is measured by can be one that a training run sees."""

from itertools import pairwise

import pytest

from eval import search
from eval.speed import past
from eval.stream_benchmark import exam
from eval.stream_world import seeds
from eval.stream_world.seeds import EXAMS, FIND, MAJORITY, MAX_TRAINING_SEED, SEARCH
from eval.training import frames, streams
from eval.training.parallel import Share
from eval.training.presets import PRESETS
from vstream import load_config

RUNS = range(MAX_TRAINING_SEED + 1)
MAX_SEARCH_SEED = 1 << 20


class Drawn(Exception):
    """The seed is known: nothing more is wanted of who draws by it."""


@pytest.fixture
def first_seed(monkeypatch):
    """The first seed that a piece of code hands to `name` of `module`."""

    def of(module, name, draw):
        found = []

        def listen(seed, *_):
            found.append(seed)
            raise Drawn

        monkeypatch.setattr(module, name, listen)
        with pytest.raises(Drawn):
            draw()
        return found[0]

    return of


def test_no_two_ranges_have_a_seed_in_common():
    training = [own(run) for own in (seeds.vision_training, seeds.stream_training) for run in RUNS]
    ranges = sorted([*training, MAJORITY, SEARCH, FIND, EXAMS], key=lambda one: one.start)
    assert all(one.start < one.stop <= after.start for one, after in pairwise(ranges))


@pytest.mark.parametrize("run", [RUNS[0], RUNS[-1]])
def test_training_runs_draw_from_their_own_ranges(first_seed, run):
    preset, share = PRESETS["cpu"], Share()
    vision = frames.VisionBatches(preset, run, share)
    assert first_seed(frames, "Random", lambda: vision[0]) == seeds.vision_training(run).start
    batches = streams.StreamBatches(preset, run, None, share)
    drawn = first_seed(streams, "write_script", lambda: batches[0])
    assert drawn == seeds.stream_training(run).start


@pytest.mark.parametrize("seed", [0, MAX_SEARCH_SEED])
def test_searches_draw_from_their_own_range(first_seed, monkeypatch, seed):
    monkeypatch.setattr(search, "world_model", lambda *_: None)
    config = load_config()
    first = first_seed(past, "write_script", lambda: search.measure_search(config, seed, 1, 1))
    assert first in SEARCH
    assert first + 999 in SEARCH, "as many streams as one may ask for"


@pytest.mark.parametrize("seed", [0, exam.MAX_SEED])
def test_exams_draw_from_their_own_range(first_seed, seed):
    size = exam.ExamOptions(seed, 40, 5, 6)
    drawn = [stream.script.seed for stream in exam.draw_exam(size)]
    assert all(one in EXAMS for one in drawn)
    exam.majority_texts.cache_clear()
    assert first_seed(exam, "write_script", lambda: exam.majority_texts(size)) in MAJORITY
