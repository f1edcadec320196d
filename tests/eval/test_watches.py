"""How the benchmark counts what came of standing questions."""

from dataclasses import replace
from random import Random

import pytest

from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam
from eval.stream_benchmark.watches import (
    IN_TIME_S,
    NUM_WATCHES,
    WatchFigures,
    is_false_alarm,
    rare_questions,
    standing_questions,
    watch_record,
)
from eval.stream_world import Script, truth_spans, write_script
from eval.stream_world.standing import MAX_RARE_ONSETS, StandingQuestion, draw_rare
from eval.stream_world.statement import SpanIndex

BARE = write_script(3, 60).moments[0]
OWL = next(
    replace(item, name="owl")
    for moment in write_script(3, 60).moments
    for item in moment.items
    if item.color is None and item.number is None
)


def stream(*in_view_s: range, length_s: int = 60) -> ExamStream:
    """A stream with an owl in view at those seconds."""
    seen = {second for seconds in in_view_s for second in seconds}
    moments = tuple(
        replace(BARE, time_s=second, items=(OWL,) if second in seen else ())
        for second in range(length_s)
    )
    return ExamStream("made", Script(0, moments, ("owl",), ()), "seen", ())


def test_onsets_told_in_time_are_counted_and_those_without_time_left_are_not_asked_for() -> None:
    made = stream(range(10, 20), range(30, 40), range(58, 60))
    standing = StandingQuestion("tell me", "owl", 0, (10, 30, 58))
    record = watch_record(made, standing, [10.0 + IN_TIME_S, 30.0 + IN_TIME_S + 1])
    assert record.onsets_s == (10, 30)
    assert record.num_told == 1
    assert record.num_false_alarms == 0  # late, but the owl is still there
    assert record.watched_s == 60


@pytest.mark.parametrize(
    ("fired_s", "is_false"), [(9, True), (10, False), (12, False), (15, False), (16, True)]
)
def test_an_alarm_is_false_without_the_object_and_without_an_onset_just_before(
    fired_s: int, is_false: bool
) -> None:
    made = stream(range(10, 12))
    standing = StandingQuestion("tell me", "owl", 0, (10,))
    assert is_false_alarm(made.script, standing, fired_s) == is_false


def test_every_object_is_watched_for_as_a_request_and_as_a_question() -> None:
    exam = draw_exam(ExamOptions(seed=3, length_s=400, num_streams=2, num_questions=10))
    drawn = standing_questions(exam)
    assert sum(map(len, drawn.values())) == NUM_WATCHES
    for stream in exam:
        watched = drawn[stream.name]
        middle = len(watched) // 2
        for request, question in zip(watched[:middle], watched[middle:], strict=True):
            assert replace(question, text=request.text) == request
            assert question.text != request.text
            assert question.name in question.text


def test_rare_statements_are_watched_for_in_the_first_hour_and_in_the_last() -> None:
    exam = draw_exam(
        ExamOptions(seed=3, length_s=7500, num_streams=2, num_questions=4, topic="time")
    )
    drawn = rare_questions(exam)
    assert sum(map(len, drawn.values())) == 2 * NUM_WATCHES
    truthful, deaf = [], []
    for made in exam:
        for one in drawn[made.name]:
            assert (one.asked_s, one.until_s) in ((0, 3600), (3600, 7200))
            assert one.awaited.words in one.text
            begins = [span.start_s for span in truth_spans(made.script, one.awaited)]
            assert list(one.onsets_s) == [s for s in begins if one.asked_s <= s < one.until_s]
            assert len(one.onsets_s) <= MAX_RARE_ONSETS
            moments = made.script.moments[one.asked_s : one.until_s]
            assert not any(one.awaited.is_doubtful(moment) for moment in moments)
            assert not one.awaited.holds(moments[0])
            told = [float(s) for s in one.onsets_s if s + IN_TIME_S < one.until_s]
            truthful.append(watch_record(made, one, told))
            deaf.append(watch_record(made, one, [one.asked_s]))
    never = sum(not record.onsets_s for record in truthful)
    assert 0.1 < never / len(truthful) < 0.6
    found = WatchFigures.of(truthful)
    assert list(found.by_hour) == [1, 2]
    for figures in (found, *found.by_hour.values()):
        assert (figures.precision, figures.fired_within_5s, figures.f1) == (100, 100, 100)
        assert (figures.delay_s, figures.false_alarms_per_hour) == (0, 0)
    assert WatchFigures.of(deaf).f1 == 0
    assert WatchFigures.of(deaf).false_alarms_per_hour == 1


def test_a_rare_statement_is_not_watched_for_while_it_is_so() -> None:
    index = SpanIndex(stream(range(10), range(20, 25)).script)
    onsets = {
        start: {one.onsets_s for one in draw_rare(index, 3, Random(0), range(start, 60))}
        for start in (5, 10, 11)
    }
    assert onsets[5] | onsets[10] <= {()}
    assert (20,) in onsets[11]
