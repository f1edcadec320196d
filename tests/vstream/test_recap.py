"""Recap: what came and left in streams, as the model says and confirms it."""

from concurrent.futures import CancelledError
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from owl_stream import VISITS, owl_frames

from encoders.recommended import EMBEDDED, Recommended
from memory import POLICIES, MemoryConfig
from memory.block_facts import BlockFacts
from vstream import Effort, Finding, Recap, load_config, load_video_llm
from vstream import open_session as open_stream
from vstream.device.asker import Asker
from vstream.search.recap import EFFORTS, runs_of, said_in
from vstream.search.stretch_blocks import StretchBlocks

BEGAN = 1_700_000_000.0
ALL = replace(EFFORTS["default"], milliseconds=None)
SMALL = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}


def told(streams, **options):
    """A recap that has ended; what it told on the way stands in it."""
    recap = Recap(streams, **{"effort": ALL, **options})
    on_the_way = list(recap)
    assert all(entry in recap.entries for entry in on_the_way)
    assert len(on_the_way) == sum(entry.is_whole for entry in recap.entries)
    return recap


@pytest.fixture(scope="module")
def owls():
    """The embedded model, and what it saw: an owl that came and left twice beside a cup."""
    config = load_config().model_copy(update={"memory": MemoryConfig(store="memory://")})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    with open_stream(config, model, "owls") as session:
        session.push([replace(one, captured_at=BEGAN + one.stream_s) for one in owl_frames()])
        yield session


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


def small_session(model):
    """Of a random model that says yes about as often as no, and is believed."""
    model.family.recommended = replace(model.family.recommended, find_threshold=0.5)
    session = open_session(model, max_answer_tokens=6, **SMALL)
    session.push(stream_frames(14 * model.family.frames_per_block))
    return session


def test_what_came_and_left_is_told_and_what_stayed_is_not(owls):
    recap = told({"owls": owls})
    assert [entry.sentence for entry in recap.entries] == ["an owl"] * 2
    assert [(one.from_s, one.to_s) for one in recap.entries] == [(v.start, v.stop) for v in VISITS]
    assert all(one.came and one.left and one.thumbnail for one in recap.entries)
    assert [part.kind for part in recap.coverage["owls"]] == ["judged"]
    finding = Finding({"owls": owls}, "an owl is there now", effort=replace(ALL, proposals=160))
    list(finding)
    for span, entry in zip(finding.spans, recap.entries, strict=True):
        assert span.document().items() <= entry.document().items()


def test_what_was_there_at_first_or_is_at_last_did_not_come_or_leave(owls):
    begin, end = VISITS[0].start + 1.0, VISITS[1].start + 4.0
    first, second = told({"owls": owls}, within={"owls": (begin, end)}).entries
    assert (first.came, first.left, first.to_s) == (False, True, VISITS[0].stop)
    assert (second.came, second.left, second.from_s) == (True, False, VISITS[1].start)
    inside = told({"owls": owls}, within={"owls": (begin, VISITS[0].stop - 2.0)})
    assert inside.entries == []  # it was there all the time


def test_streams_are_told_of_in_time_order_as_each_by_itself(owls):
    both = told({"a": owls, "b": owls})
    alone = told({"a": owls})
    assert [(one.stream, one.from_s) for one in both.entries] == [
        (name, float(visit.start)) for visit in VISITS for name in ("a", "b")
    ]
    assert [one for one in both.entries if one.stream == "a"] == alone.entries
    assert both.title(ZoneInfo("UTC")).startswith("4 things came or left: a, b, ")
    assert both.judged == 0  # it was known by then


def test_a_sentence_that_is_not_confirmed_is_dropped(owls):
    recommended = owls.model.family.recommended
    owls.model.family.recommended = replace(recommended, recap_threshold=1.0)
    try:
        recap = told({"owls": owls})
    finally:
        owls.model.family.recommended = recommended
    assert recap.entries == []
    assert (recap.dropped, recap.unchecked) == (2, 0)
    recap = told({"owls": owls}, effort=Effort(None, 0, None))
    assert (recap.entries, recap.dropped, recap.unchecked) == ([], 0, 2)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_asked_to_describe(name):
    model = tiny_video_llm(name)[0]
    with small_session(model) as session:
        recap = told({"one": session}, effort=Effort(5, 40, None))
        assert 1 <= recap.described <= 5
        assert recap.judged <= 40


@pytest.mark.parametrize("name", POLICIES.names())
def test_of_every_policy_the_blocks_that_it_keeps_are_told_of(llama, name):
    options = {"window": {"frames": 8}}.get(name, {})
    with open_session(llama, max_answer_tokens=6, policy=name, **options) as session:
        session.push(stream_frames(14))
        told({"one": session}, effort=Effort(3, 20, None), within={"one": (2.0, 12.0)})


def test_no_time_and_no_runs_give_nothing_and_say_so(owls):
    for effort in (Effort(None, None, 0), Effort(0, None, None)):
        recap = told({"owls": owls}, effort=effort)
        assert (recap.described, recap.entries) == (0, [])
        assert [part.kind for part in recap.coverage["owls"]] == ["open"]


@pytest.mark.parametrize("rounds", [2, 30])
def test_an_asker_who_leaves_ends_it_while_it_describes_or_judges(owls, monkeypatch, rounds):
    asker, done = Asker(), []

    def leave_after(one):
        done.append(one)
        if len(done) == rounds:
            asker.leave()

    owls.memory.facts = BlockFacts()
    monkeypatch.setattr(owls.model.scheduler, "on_round", leave_after)
    with pytest.raises(CancelledError):
        list(Recap({"owls": owls}, effort=ALL, asker=asker))
    assert len(done) <= rounds + 1


def test_nothing_is_told_of_an_empty_stream(llama):
    with open_session(llama, **SMALL) as session:
        recap = told({"one": session})
        assert (recap.entries, recap.coverage) == ([], {"one": []})
        assert recap.title(ZoneInfo("UTC")) == "no things came or left: one, all time (UTC)"


@given(st.lists(st.floats(-1, 1), max_size=30), st.none() | st.integers(0, 12))
def test_runs_are_all_places_and_end_where_neighbours_are_least_alike(likeness, most):
    times = np.arange(len(likeness), dtype=float)
    like = np.array([0.0, *likeness[1:]])[: len(likeness)]
    blocks = StretchBlocks(range(len(like)), *[times] * 4, (0.0, 1.0), times, like)
    runs = runs_of(blocks, most)
    if most == 0:
        assert runs == []
        return
    assert [place for first, last in runs for place in range(first, last + 1)] == list(
        range(len(like))
    )
    inner = [likeness[first] for first, _ in runs[1:]]
    assert len(runs) <= (len(like) if most is None else most)
    assert all(one < 0.95 for one in inner)
    if most is None:
        assert len(inner) == sum(one < 0.95 for one in likeness[1:])
    elif len(runs) == most:
        assert sorted(inner) == sorted(likeness[1:])[: most - 1]


def test_what_is_said_is_taken_apart():
    said = "- A dog sleeps.\n2) A man reads. \n* A dog sleeps.\n\nNothing else.\nNo one talks."
    assert said_in(said, Recommended()) == ["A dog sleeps.", "A man reads."]
    assert len(said_in("\n".join(map(str, range(99))), Recommended())) == 8
    assert said_in("a" * 201, Recommended()) == []
    drawn = "an owl, an orange star, an orange, a red arrow, a sign with 47"
    assert said_in(drawn, EMBEDDED) == ["an owl", "a star", "an orange", "an arrow", "a sign"]
    assert said_in("nothing", EMBEDDED) == []
