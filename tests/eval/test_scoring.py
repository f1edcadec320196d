import pytest

from eval.stream_world import Score, score, tally


@pytest.mark.parametrize(
    ("truth", "given", "expected"),
    [
        ("yes", "yes", Score(True, True)),
        ("yes", " Yes. ", Score(True, False)),
        ("yes", "no", Score(False, False)),
        ("a dog, a red star", "a red star, a dog", Score(True, False)),
        ("a dog, a red star", "a dog", Score(False, False)),
        ("a dog ; beach", "a dog; beach", Score(True, False)),
        ("not seen", "at 0h00m10s", Score(False, False)),
    ],
)
def test_answers_are_compared_without_case_order_and_punctuation(
    truth: str, given: str, expected: Score
) -> None:
    assert score(truth, given, asked_s=100) == expected


@pytest.mark.parametrize(
    ("given", "asked_s", "is_right"),
    [
        ("at 0h10m00s", 700, True),
        ("at 0h10m03s", 610, True),
        ("at 0h10m04s", 610, False),
        ("at 0h11m00s", 1800, True),
        ("at 0h11m01s", 1800, False),
        ("ten minutes in", 700, False),
    ],
)
def test_a_time_may_be_off_by_three_seconds_or_a_twentieth_of_its_age(
    given: str, asked_s: int, is_right: bool
) -> None:
    assert score("at 0h10m00s", given, asked_s).is_right == is_right


def test_shares_are_over_all_questions_and_zero_without_any() -> None:
    scores = [Score(True, True), Score(True, False), Score(False, False), Score(False, False)]
    assert (tally(scores).accuracy, tally(scores).exact_share) == (0.5, 0.25)
    assert tally([]).accuracy == 0.0
