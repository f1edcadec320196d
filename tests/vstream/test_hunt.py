"""A hunt finds what a look at every block finds, for statements of any pattern."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vstream.search.hunt import Hunt, excluded, proposals

HIGH, LOW = 0.5, 0.3
SO = {"high": HIGH, "low": LOW}
PROBABILITIES = st.sampled_from([0.0, 0.1, LOW, 0.4, HIGH, 0.7, 1.0])


class World(NamedTuple):
    """How probable it is at each place, what the index says of it, and what follows nothing."""

    so: list[float]
    scores: list[float]
    looks: list[int]
    breaks: list[int]
    count: int
    """So many are judged at a time."""


@st.composite
def worlds(draw):
    so: list[float] = []
    for _ in range(draw(st.integers(0, 12))):
        so += [draw(PROBABILITIES)] * draw(st.integers(1, 9))
    num = len(so)
    scores = draw(st.lists(st.floats(-1, 1), min_size=num, max_size=num))
    changes = draw(st.lists(st.booleans(), min_size=num, max_size=num))
    looks = np.cumsum(np.array(changes, dtype=int)).tolist()
    breaks = sorted(draw(st.sets(st.integers(1, num - 1), max_size=3))) if num > 1 else []
    return World(so, scores, looks, breaks, draw(st.integers(1, 5)))


def hunted(world, **options):
    """A hunt to its end, and the runs that it told of as they came."""
    looks = np.array(world.looks, dtype=int)
    order = proposals(np.array(world.scores), looks, np.zeros(len(looks), dtype=bool))
    hunt = Hunt(world.looks, order, breaks=world.breaks, **SO, **options)
    told = []
    while places := hunt.wanted(world.count):
        assert len(set(places)) == len(places) <= world.count
        told += hunt.take({place: world.so[place] for place in places})
    return hunt, told


def by_hand(world: World) -> list[tuple[int, int]]:
    """The longest runs of places that may belong to one, with one at which it is so."""
    runs: list[list[int]] = []
    for place, probability in enumerate(world.so):
        if probability < LOW:
            continue
        goes_on = bool(runs) and runs[-1][-1] == place - 1 and place not in world.breaks
        runs = [*runs[:-1], [*runs[-1], place]] if goes_on else [*runs, [place]]
    return [(run[0], run[-1]) for run in runs if max(world.so[i] for i in run) >= HIGH]


def bounds(runs: Sequence) -> list[tuple[int, int]]:
    return [(run.first, run.last) for run in runs]


@given(worlds())
@settings(max_examples=300)
def test_without_a_bound_it_finds_what_a_look_at_every_place_finds(world):
    hunt, told = hunted(world, is_exact=True)
    places = {place for place in hunt.judged if isinstance(place, int)}
    assert places == set(range(len(world.so)))
    assert bounds(hunt.runs()) == by_hand(world)
    assert sorted(bounds(told)) == by_hand(world)


@given(worlds(), st.none() | st.integers(0, 30), st.booleans())
@settings(max_examples=300)
def test_its_runs_are_apart_in_order_and_hold_all_that_was_judged_to_be_so(world, most, is_exact):
    hunt, told = hunted(world, most=most, is_exact=is_exact)
    runs = hunt.runs()
    assert most is None or hunt.num_judged <= most
    for one, other in pairwise(runs):
        assert one.last < other.first
    for run in runs:
        assert not any(run.first < at <= run.last for at in world.breaks)
        assert run.probability == world.so[run.best] == hunt.judged[run.best] >= HIGH
        assert run.first <= run.best <= run.last
        assert world.so[run.first] >= LOW <= world.so[run.last]
    for place, probability in hunt.judged.items():
        if probability >= HIGH:
            assert any(run.first <= place <= run.last for run in runs)
    whole = [run for run in runs if run.is_whole]
    assert sorted(told, key=lambda run: run.first) == whole, "what was told of stays so"
    if most is None:
        assert runs == whole


@given(worlds())
def test_a_run_that_is_whole_ends_where_it_is_no_longer_so(world):
    hunt, _ = hunted(world)
    for run in hunt.runs():
        for beside, wall in ((run.first - 1, run.first), (run.last + 1, run.last + 1)):
            is_open = 0 <= beside < len(world.so) and wall not in world.breaks
            assert not is_open or hunt.judged[beside] < LOW


def test_of_a_long_run_few_places_are_judged_and_its_ends_are_exact():
    so = [0.0] * 100 + [1.0] * 300 + [0.0] * 600
    hunt = Hunt([0] * len(so), [250], **SO)
    while places := hunt.wanted(4):
        hunt.take({place: so[place] for place in places})
    assert bounds(hunt.runs()) == [(100, 399)]
    assert hunt.num_judged < 40


def test_what_looks_different_between_two_places_is_looked_into():
    so = [1.0] * 8 + [0.0] * 4 + [1.0] * 8
    alike = Hunt([0] * len(so), [4, 15], **SO)
    different = Hunt([0] * 8 + [1] * 4 + [2] * 8, [4, 15], **SO)
    for hunt in (alike, different):  # of what looks alike nobody asks
        while places := hunt.wanted(4):
            hunt.take({place: so[place] for place in places})
    assert bounds(alike.runs()) == [(0, 19)]
    assert bounds(different.runs()) == [(0, 7), (12, 19)]


@given(worlds())
def test_proposals_are_all_places_the_best_of_each_run_of_alike_ones_first(world):
    scores = np.array(world.scores)
    looks, out = np.array(world.looks, dtype=int), excluded(scores)
    order = proposals(scores, looks, np.zeros_like(out))
    assert proposals(scores, looks, out) == [place for place in order if not out[place]]
    assert sorted(order) == list(range(len(world.so)))
    num_runs = len(set(world.looks))
    leads = order[:num_runs]
    assert len({world.looks[place] for place in leads}) == num_runs
    for place in leads:
        run = [i for i, one in enumerate(world.looks) if one == world.looks[place]]
        assert scores[place] == max(scores[run])
    assert (np.diff(scores[leads]) <= 0).all()


def test_the_index_excludes_what_is_unlike_and_never_the_best():
    scores = np.array([0.0, 0.1, 0.2, 0.1, 0.9])
    assert excluded(scores).tolist() == [True, True, True, True, False]
    assert not excluded(np.zeros(4)).any()
    assert not len(excluded(np.zeros(0)))
