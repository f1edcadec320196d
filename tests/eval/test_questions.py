import time
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import KINDS, History, Question, ask, draw_questions, write_script
from eval.stream_world.vocabulary import clock, parse_clock

seeds = st.integers(0, 10_000)
ABOUT_ONE = ("color_first", "color_last", "when_first", "when_last", "scene_past", "where_past")


def questions_of(seed: int, length_s: int = 64, num: int = 48) -> list[Question]:
    return draw_questions(write_script(seed, length_s), num, Random(seed))


@pytest.fixture(scope="module")
def hour() -> list[Question]:
    """Questions on two streams of an hour."""
    return [
        question
        for seed in (1, 2)
        for question in draw_questions(
            write_script(seed, 3600), 1200, Random(seed), asked_from_s=30
        )
    ]


def test_every_kind_of_question_comes_up() -> None:
    kinds = {question.kind for seed in range(12) for question in questions_of(seed)}
    assert kinds == set(KINDS)


@given(seeds)
@settings(max_examples=8)
def test_the_same_seed_asks_the_same_questions(seed: int) -> None:
    assert questions_of(seed) == questions_of(seed)


@given(seeds)
@settings(max_examples=15)
def test_evidence_lies_in_order_and_not_after_the_question(seed: int) -> None:
    for question in questions_of(seed):
        starts = [span.start_s for span in question.evidence]
        assert starts == sorted(starts)
        for span in question.evidence:
            assert 0 <= span.start_s <= span.end_s <= question.asked_s
        oldest = question.asked_s - starts[0] if starts else None
        assert question.evidence_age_s == oldest


@given(seeds)
@settings(max_examples=15)
def test_the_evidence_alone_shows_what_is_asked_about(seed: int) -> None:
    script = write_script(seed, 64)
    for question in draw_questions(script, 48, Random(seed)):
        frames = {s for span in question.evidence for s in range(span.start_s, span.end_s + 1)}
        shown = {item.name for s in frames for item in script.moments[s].items}
        denies = question.answer in ("no", "not seen", "not yet", "0")
        assert denies or set(question.names) <= shown, question
        if question.kind in ("order", "after", "before"):
            assert question.answer.removeprefix("the ") in shown, question


@given(seeds)
@settings(max_examples=6)
def test_a_question_is_about_a_needle_if_and_only_if_one_was_seen_and_named(seed: int) -> None:
    script = write_script(seed, 600)
    for question in draw_questions(script, 60, Random(seed)):
        past = script.moments[: question.asked_s + 1]
        seen = {item.name for moment in past for item in moment.items}
        named = set(question.names) & set(script.needles) & seen
        assert question.is_needle == bool(named)


def test_about_half_of_the_yes_no_questions_are_denied() -> None:
    script, kinds = write_script(1, 3600), ("exist", "watch", "seen_yet")
    questions = draw_questions(script, 1500, Random(1), kinds)
    for kind in kinds:
        answers = Counter(question.answer for question in questions if question.kind == kind)
        assert set(answers) == ({"yes", "not yet"} if kind == "watch" else {"yes", "no"})
        assert 0.4 < answers["yes"] / answers.total() < 0.6, kind


def test_a_fifth_of_the_questions_about_one_object_are_about_one_never_seen(
    hour: list[Question],
) -> None:
    answers = [question.answer for question in hour if question.kind in ABOUT_ONE]
    assert 0.15 < answers.count("not seen") / len(answers) < 0.25


def test_about_a_tenth_of_the_past_questions_are_about_needles(hour: list[Question]) -> None:
    past = [question for question in hour if question.is_about_past]
    assert 0.06 < sum(question.is_needle for question in past) / len(past) < 0.16


def test_moments_of_asking_are_spread_evenly_from_the_given_one_on(hour: list[Question]) -> None:
    quarters = Counter((question.asked_s - 30) * 4 // 3570 for question in hour)
    assert min(question.asked_s for question in hour) >= 30
    assert all(0.18 < quarters[quarter] / len(hour) < 0.32 for quarter in range(4))


def test_no_kind_is_starved_in_a_long_stream(hour: list[Question]) -> None:
    kinds = Counter(question.kind for question in hour)
    even = len(hour) / len(KINDS)
    assert all(kinds[kind] > 0.25 * even for kind in KINDS), kinds


def test_a_stream_that_ends_before_the_first_question_is_not_asked_about() -> None:
    assert draw_questions(write_script(1, 20), 5, Random(1), asked_from_s=30) == []


def test_three_hundred_questions_on_an_hour_take_less_than_two_seconds() -> None:
    script = write_script(4, 3600)
    began_s = time.process_time()
    questions = draw_questions(script, 300, Random(4), asked_from_s=30)
    assert len(questions) == 300
    assert time.process_time() - began_s < 2


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no question kind 'colour'.*exist, color"):
        ask("colour", History(write_script(0, 5).moments), Random(0))


@given(st.integers(0, 24 * 3600))
def test_a_time_is_read_back_as_it_was_written(time_s: int) -> None:
    assert parse_clock(f"at {clock(time_s)}") == time_s
