"""Where the official scorer is odd, ours is as odd."""

import pytest
from etbench_fixture import FOUR, answered, figures, likeness

from eval.etbench.answers import answer_captions
from eval.etbench.scores import score
from eval.etbench.time_scores import answer_moment

CAPTION = "0 - 10 seconds, a man walks."
ONE = {"tgt": [[0.0, 10.0]], "g": ["a man walks."]}


def test_a_wrong_letter_has_a_second_chance_but_in_gvq():
    """The text after the wrong letter is that of the right option."""
    for task in ("rar", "eca", "rvq"):
        options = (*FOUR, "none")[: 5 if task == "rvq" else 4]
        assert figures(answered(task, "(A) a blue boat", p=1, o=options))["Acc"] == 1.0
    assert figures(answered("gvq", "(A) a blue boat 5 - 12", tgt=[5, 12]))["Acc"] == 0.0


@pytest.mark.parametrize("text", ["B", "(b)", "Best Option: (B)", "b) a red car"])
def test_a_letter_is_read_in_many_forms(text):
    assert figures(answered("rar", text))["Acc"] == 1.0


def test_an_article_is_an_option():
    text = "A blue boat comes along."
    assert figures(answered("rar", text, p=0))["Acc"] == 1.0
    assert figures(answered("gvq", f"{text} 5 - 12", tgt=[5, 12]))["Acc"] == 0.0


def test_a_summary_without_times_is_left_out():
    good, refused = answered("evs", "0 - 10", tgt=[[0, 10]]), answered("evs", "no", 1, tgt=[[0, 5]])
    assert figures(good, refused)["F1"] == 1.0


def test_a_summary_ends_after_1000_seconds():
    one = answered("evs", "0 - 10, 1500 - 1510", tgt=[[0, 10], [2000, 2010]])
    assert figures(one)["F1"] == 1.0


def test_captions_that_cannot_be_read_are_left_out_of_the_similarity():
    found = figures(answered("dvc", CAPTION, **ONE), answered("dvc", "no", 1, **ONE))
    assert found["SentSim"] == pytest.approx(1.0, abs=1e-5)


def test_a_caption_that_matches_no_event_is_compared_with_a_random_string():
    one = answered("dvc", "50 - 60 seconds, a man walks.", **ONE)
    assert 0.001 < abs(figures(one)["SentSim"]) < 0.5


def test_a_video_counts_once():
    two = [answered("slc", CAPTION, idx, video="v", **ONE) for idx in (0, 1)]
    assert figures(*two)["F1"] == 0.5


def test_a_preamble_shifts_the_captions():
    text = f"Here are the events:\n{CAPTION}\n20 - 30 seconds, a dog runs."
    assert answer_captions(text) == (
        ((0.0, 10.0), "here are the events:"),
        ((20.0, 30.0), "a man walks."),
    )


def test_a_clock_time_is_torn_apart():
    assert answer_moment("at 00:35") == 0
    (shifted,) = answer_captions("01:05 - 01:20, a man walks.")
    assert shifted == ((1.0, 5.0), ":20, a man walks.")


def test_start_time_and_end_time_in_words_are_not_read():
    assert answer_captions("Start time 0, end time 10, a man walks.") == ()


@pytest.mark.parametrize(
    ("text", "at_s"),
    [
        ("The highlight moment happens at 25.5 seconds.", 25.5),
        ("Among 3 moments the best is at 25", 3),
        ("moment-35", -35),
        ("27.2 - 33.2 seconds", 27.2),
        ("1,068 seconds", 1),
        ("none", None),
    ],
)
def test_the_first_number_is_the_moment(text, at_s):
    assert answer_moment(text) == at_s


def test_a_merged_number_without_all_its_tasks_is_empty():
    found = score([answered("tvg", "5 - 12", tgt=[5, 12])], likeness(), 1)
    assert found.overall["TVG_F1"] == 1.0
    assert found.overall["EPM_F1"] is None
    assert set(found.merged.values()) == {None}
    assert found.num_unanswered == 1
