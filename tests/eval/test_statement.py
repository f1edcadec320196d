"""Statements: when they hold, by spans and frame by frame, and where one could doubt it."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import Script, Statement, truth_spans, write_script
from eval.stream_world.history import Period
from eval.stream_world.statement import FORMS, NAMED_SCENES, PLACES, SpanIndex
from eval.stream_world.vocabulary import COLORS, cell, emoji_names, shape_names

NAMES = (*emoji_names(), *shape_names())
statements = st.builds(
    lambda name, form, value: Statement(name, **form(value)),
    st.sampled_from(NAMES),
    st.sampled_from(
        [
            lambda _: {},
            lambda n: {"color": list(COLORS)[n % len(COLORS)]},
            lambda n: {"place": PLACES[n % len(PLACES)]},
            lambda n: {"scene": NAMED_SCENES[n % len(NAMED_SCENES)]},
        ]
    ),
    st.integers(0, 89),
)


def frames_of(script: Script, statement: Statement) -> set[int]:
    """The seconds that show it, by what each of their objects is."""
    return {
        moment.time_s
        for moment in script.moments
        for item in moment.items
        if item.name == statement.name
        and (not statement.color or statement.color == item.color)
        and (not statement.place or statement.place == cell(item.x, item.y))
        and (not statement.scene or statement.scene == moment.backdrop.scene)
    }


def covered(spans: tuple[Period, ...]) -> set[int]:
    return {second for one in spans for second in range(one.start_s, one.end_s + 1)}


@given(st.integers(0, 1000), st.data())
@settings(max_examples=25)
def test_spans_are_the_frames_that_show_it_in_whole_stretches(seed: int, data: st.DataObject):
    script = write_script(seed, 150)
    index = SpanIndex(script)
    shown = [one for form in FORMS for one in index.by_form[form]]
    statement = data.draw(st.sampled_from(shown) if shown else statements)
    for one in (statement, data.draw(statements)):
        spans, frames = truth_spans(script, one), frames_of(script, one)
        assert covered(spans) == frames
        assert all(a.end_s + 1 < b.start_s for a, b in pairwise(spans))
        whole = [Period(span[0], span[-1]) for span in index.whole(one)]
        assert whole == list(spans)
        for until in {0, 149, *sorted(frames)[:5], data.draw(st.integers(0, 149))}:
            cut = truth_spans(script, one, until)
            assert covered(cut) == {second for second in frames if second <= until}
            assert [Period(span[0], span[-1]) for span in index.until(one, until)] == list(cut)
        doubtful = [moment.time_s for moment in script.moments if one.is_doubtful(moment)]
        assert index.is_clear(one, range(150)) == (not doubtful)
        if doubtful:
            assert not index.is_clear(one, range(doubtful[0], doubtful[0] + 1))
            assert index.is_clear(one, range(doubtful[0]))


def test_the_index_holds_all_that_ever_holds_and_nothing_else() -> None:
    script = write_script(4, 200)
    index = SpanIndex(script)
    shapes = [Statement(name, color=color) for name in shape_names() for color in COLORS]
    placed = [Statement(name, place=place) for name in NAMES for place in PLACES]
    in_scene = [Statement(name, scene=scene) for name in NAMES for scene in NAMED_SCENES]
    for form, every in (("color", shapes), ("place", placed), ("scene", in_scene)):
        held = {one for one in every if frames_of(script, one)}
        assert held == {one for one in index.by_form[form] if one.name != "sign"}


def test_a_stream_that_was_retimed_has_spans_in_its_own_seconds() -> None:
    script = write_script(4, 60)
    statement = SpanIndex(script).by_form["object"][0]
    later = truth_spans(script.retimed(range(100, 160)), statement)
    for one, moved in zip(truth_spans(script, statement), later, strict=True):
        assert replace(one, start_s=one.start_s + 100, end_s=one.end_s + 100) == moved


@pytest.mark.parametrize(
    ("statement", "text", "form"),
    [
        (Statement("owl"), "an owl", "object"),
        (Statement("star", color="orange"), "an orange star", "color"),
        (Statement("owl", place="center"), "an owl in the center", "place"),
        (Statement("cup", place="top left"), "a cup at the top left", "place"),
        (Statement("cup", scene="beach"), "a cup on the beach", "scene"),
        (Statement("cup", scene="night sky"), "a cup against the night sky", "scene"),
        (Statement("cup", scene="room"), "a cup in the room", "scene"),
    ],
)
def test_a_statement_says_what_to_look_for(statement: Statement, text: str, form: str) -> None:
    assert (statement.text, statement.form) == (text, form)
