"""How the benchmark counts what came of standing questions."""

from dataclasses import replace

import pytest

from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam
from eval.stream_benchmark.watches import (
    IN_TIME_S,
    NUM_WATCHES,
    is_false_alarm,
    standing_questions,
    watch_record,
)
from eval.stream_world import Script, write_script
from eval.stream_world.standing import StandingQuestion

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
