from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import KINDS, History, Question, ask, draw_questions, phrasings, write_script
from eval.stream_world.vocabulary import clock, parse_clock

seeds = st.integers(0, 10_000)


def questions_of(seed: int, length_s: int = 64) -> list[Question]:
    return draw_questions(write_script(seed, length_s), 48, Random(seed))


def test_every_kind_of_question_comes_up() -> None:
    kinds = {question.kind for seed in range(12) for question in questions_of(seed)}
    assert kinds == set(KINDS)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_the_same_seed_asks_the_same_questions(seed: int) -> None:
    assert questions_of(seed) == questions_of(seed)


@given(seeds, st.sampled_from(sorted(KINDS)), st.integers(0, 63))
@settings(max_examples=150, deadline=None)
def test_the_future_changes_neither_question_nor_answer(seed: int, kind: str, now: int) -> None:
    known = History(write_script(seed, now + 1).moments)
    longer = History(write_script(seed, 120).moments[: now + 1])
    assert ask(kind, known, Random(seed)) == ask(kind, longer, Random(seed))


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_evidence_lies_in_order_and_not_after_the_question(seed: int) -> None:
    for question in questions_of(seed):
        starts = [span.start_s for span in question.evidence]
        assert starts == sorted(starts)
        for span in question.evidence:
            assert 0 <= span.start_s <= span.end_s <= question.asked_s


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_the_evidence_alone_shows_what_is_asked_about(seed: int) -> None:
    script = write_script(seed, 64)
    for question in draw_questions(script, 48, Random(seed)):
        frames = {s for span in question.evidence for s in range(span.start_s, span.end_s + 1)}
        shown = {item.name for s in frames for item in script.moments[s].items}
        denies = question.answer in ("no", "not seen", "not yet", "0")
        assert denies or set(question.names) <= shown, question
        if question.kind in ("order", "after"):
            assert question.answer.removeprefix("the ") in shown, question


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_answers_agree_with_a_plain_reading_of_the_script(seed: int) -> None:
    moments = write_script(seed, 64).moments
    for question in questions_of(seed):
        past = moments[: question.asked_s + 1]
        name = question.names[0] if question.names else ""
        seen = [s for s, moment in enumerate(past) if moment.find(name)]
        arrivals = [s for s in seen if s == 0 or not past[s - 1].find(name)]
        if question.kind == "count":
            assert question.answer == str(len(past[-1].items))
        elif question.kind == "exist":
            assert question.answer == ("yes" if past[-1].find(name) else "no")
        elif question.kind == "seen_yet":
            assert question.answer == ("yes" if seen else "no")
        elif question.kind == "count_times":
            assert question.answer == str(len(arrivals))
        elif question.kind == "when_first" and seen:
            assert question.answer == f"at {clock(seen[0])}"
        elif question.kind == "when_last" and seen and seen[-1] < question.asked_s:
            assert question.answer == f"at {clock(seen[-1])}"


def test_every_kind_has_wordings_of_its_own_in_both_splits() -> None:
    for kind in KINDS:
        train, held_out = phrasings(kind, "train"), phrasings(kind, "held_out")
        assert len(train) >= 4
        assert len(held_out) >= 2
        assert not set(train) & set(held_out)


def test_an_unknown_kind_is_named_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"no question kind 'colour'.*exist, color"):
        ask("colour", History(write_script(0, 5).moments), Random(0))


@given(st.integers(0, 24 * 3600))
def test_a_time_is_read_back_as_it_was_written(time_s: int) -> None:
    assert parse_clock(f"at {clock(time_s)}") == time_s
