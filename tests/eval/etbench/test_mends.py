"""Each mend by itself: what the official scorer makes of an answer, and what is right."""

from pathlib import Path

import pytest
from etbench_fixture import FOUR, answered, figures, likeness, load

from eval.etbench.answer_captions import answer_captions
from eval.etbench.answer_moment import answer_moment
from eval.etbench.answer_times import answer_times
from eval.etbench.evaluation import evaluate
from eval.etbench.mend import PUBLISHED, STRICT, Mend
from eval.etbench.sample import Answered, Sample
from eval.etbench.scores import score

G = ["a man walks.", "a dog runs."]
TWO = [[0.0, 10.0], [20.0, 30.0]]


def both(figure, mend, *given):
    return figures(*given)[figure], figures(*given, mends={mend})[figure]


def test_1_a_wrong_letter_is_final():
    """The text after the wrong letter is that of the right option."""
    wrong = [
        answered(task, "(A) a blue boat", p=1, o=(*FOUR, "none")[: 5 if task == "rvq" else 4])
        for task in ("rar", "eca", "rvq")
    ]
    for one in wrong:
        assert both("Acc", Mend.WRONG_LETTER_FINAL, one) == (1.0, 0.0)
    for text in ("B", "(b)", "Best Option: (B)", "b) a red car"):
        assert both("Acc", Mend.WRONG_LETTER_FINAL, answered("rar", text)) == (1.0, 1.0)


def test_1_a_letter_is_no_second_chance_in_gvq_officially_either():
    one = answered("gvq", "(A) a blue boat 5 - 12", tgt=[5, 12])
    assert both("Acc", Mend.WRONG_LETTER_FINAL, one) == (0.0, 0.0)


def test_1_the_fixture_falls_by_what_second_chances_had_won():
    answers = [Answered(Sample.model_validate(one), one["a"]) for one in load("predictions.json")]
    published, mended = (
        score(answers, likeness(), frozenset(mends)).merged["Acc_ref"]
        for mends in (PUBLISHED, {Mend.WRONG_LETTER_FINAL})
    )
    assert published - mended == pytest.approx(6.7, abs=0.05)


def test_2_a_summary_without_times_is_a_miss():
    good, refused = answered("evs", "0 - 10", tgt=[[0, 10]]), answered("evs", "no", 1, tgt=[[0, 5]])
    assert both("F1", Mend.REFUSALS_COUNT_IN_EVS, good, refused) == (1.0, 0.5)


def test_3_captions_that_cannot_be_read_are_a_miss():
    good = answered("dvc", "0 - 10 seconds, a man walks.", tgt=TWO[:1], g=G[:1])
    refused = answered("dvc", "no", 1, tgt=TWO[:1], g=G[:1])
    published, mended = both("SentSim", Mend.REFUSALS_COUNT_IN_SIM, good, refused)
    assert (published, mended) == pytest.approx((1.0, 0.5), abs=1e-5)


def test_4_a_caption_that_matches_no_event_is_worth_nothing():
    one = answered("dvc", "50 - 60 seconds, a man walks.", tgt=TWO[:1], g=G[:1])
    published, mended = both("SentSim", Mend.UNMATCHED_CAPTION_IS_ZERO, one)
    assert abs(published) > 0.001
    assert mended == 0.0


@pytest.mark.parametrize("text", ["5 - 12...", "5... - 12.", "from 5 to 12..."])
def test_5_dots_after_a_number_are_no_part_of_it(text):
    assert answer_times(text, frozenset({Mend.TRAILING_DOTS})) == ((5.0, 12.0),)
    assert both("F1", Mend.TRAILING_DOTS, answered("tvg", text, tgt=[5, 12])) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("01:05 - 01:20", ((65.0, 80.0),)),
        ("from 1:05 to 1:20", ((65.0, 80.0),)),
        ("0:01:05.5 - 1:00:00", ((65.5, 3600.0),)),
        ("start: 00:01:05\nend: 00:01:20", ((65.0, 80.0),)),
        ("5.5 - 12", ((5.5, 12.0),)),
    ],
)
def test_6_a_clock_time_is_read_as_one(text, spans):
    assert answer_times(text, frozenset({Mend.CLOCK_TIMES})) == spans
    if ":" in text:
        assert answer_times(text, PUBLISHED) != spans


def test_6_a_clock_time_is_a_moment_and_the_time_of_a_caption():
    mends = frozenset({Mend.CLOCK_TIMES})
    assert (answer_moment("at 00:35", PUBLISHED), answer_moment("at 00:35", mends)) == (0, 35)
    (caption,) = answer_captions("01:05 - 01:20, a man walks.", mends)
    assert caption == ((65.0, 80.0), "a man walks.")
    (shifted,) = answer_captions("01:05 - 01:20, a man walks.", PUBLISHED)
    assert shifted == ((1.0, 5.0), ":20, a man walks.")


def test_7_two_samples_of_a_video_both_count():
    first = answered("slc", "0 - 10 seconds, a man walks.", 0, video="v", tgt=TWO[:1], g=G[:1])
    second = answered("slc", "0 - 10 seconds, a man walks.", 1, video="v", tgt=TWO[:1], g=G[:1])
    assert both("F1", Mend.EVERY_SAMPLE_OF_A_VIDEO, first, second) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        ("Here are the events:\n0 - 10 seconds, a man walks.", {(0, 10): "a man walks."}),
        ("0 - 10 seconds, hm.\n5 - 6 seconds, x", {(0, 10): "hm.", (5, 6): "x"}),
        ("0 - 10 seconds, take 2-3 eggs from it.", {(0, 10): "take 2-3 eggs from it."}),
    ],
    ids=["preamble", "short caption", "a range inside a caption"],
)
def test_8_a_caption_belongs_to_the_time_before_it(text, captions):
    text += "\n20 - 30 seconds, a dog runs."
    captions = {**captions, (20, 30): "a dog runs."}
    assert dict(answer_captions(text, PUBLISHED)) != captions
    assert dict(answer_captions(text, frozenset({Mend.CAPTION_FOLLOWS_ITS_TIME}))) == captions


@pytest.mark.parametrize(
    "text",
    [
        "0 - 10 seconds, a man walks.\n20 - 30 seconds, a dog runs.",
        "0 - 10 seconds, a man walks. 20 - 30 seconds, a dog runs.",
        "- 0 - 10: a man walks.\n- 20 - 30: a dog runs.",
        "From 0 - 10 seconds, a man walks. From 20 - 30 seconds, a dog runs.",
    ],
)
def test_8_an_answer_in_the_asked_form_is_read_the_same(text):
    mended = answer_captions(text, frozenset({Mend.CAPTION_FOLLOWS_ITS_TIME}))
    assert mended == (((0.0, 10.0), "a man walks."), ((20.0, 30.0), "a dog runs."))


def test_9_start_time_and_end_time_in_words_are_read():
    text = "Start time 0, end time 10, a man walks. Start time 20, end time 30, a dog runs."
    assert answer_captions(text, PUBLISHED) == ()
    mended = answer_captions(text, frozenset({Mend.START_TIME_WORDS}))
    assert mended == (((0.0, 10.0), "a man walks"), ((20.0, 30.0), "a dog runs"))


def test_10_an_article_is_no_option():
    text = "A blue boat comes along."
    assert both("Acc", Mend.ARTICLE_IS_NO_LETTER, answered("rar", text, p=0)) == (1.0, 0.0)
    gvq = answered("gvq", f"{text} 5 - 12", tgt=[5, 12])
    assert both("Acc", Mend.ARTICLE_IS_NO_LETTER, gvq) == (0.0, 1.0)
    assert both("Acc", Mend.ARTICLE_IS_NO_LETTER, answered("rar", "A.", p=0)) == (1.0, 1.0)


def test_11_a_summary_is_compared_to_its_end():
    one = answered("evs", "0 - 10, 1500 - 1510", tgt=[[0, 10], [2000, 2010]])
    assert both("F1", Mend.SUMMARY_OF_ANY_LENGTH, one) == (1.0, 0.5)
    endless = answered("evs", "0 - 99999999999", tgt=[[0, 10]])
    assert figures(endless, mends={Mend.SUMMARY_OF_ANY_LENGTH})["F1"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "published", "mended"),
    [
        ("The highlight moment happens at 25.5 seconds.", 25.5, 25.5),
        ("Among 3 moments the best is at 25", 3, 25),
        ("Top 3: 25 seconds", 3, 25),
        ("Top 3: 25", 3, None),
        ("moment-35", -35, 35),
        ("27.2 - 33.2 seconds", 27.2, 27.2),
        ("1,068 seconds", 1, None),
        ("1) the highlight is at 00:35", 1, 35),
        ("25", 25, 25),
        ("none", None, None),
    ],
)
def test_12_a_moment_is_the_number_marked_as_a_time(text, published, mended):
    assert answer_moment(text, PUBLISHED) == published
    assert answer_moment(text, frozenset({Mend.MOMENT_MUST_BE_CLEAR})) == mended


def test_15_a_merged_number_never_stands_for_other_tasks():
    found = score([answered("tvg", "5 - 12", tgt=[5, 12])], likeness(), STRICT)
    assert found.overall["TVG_F1"] == 1.0
    assert found.overall["EPM_F1"] is None
    assert set(found.merged.values()) == {None}


def test_an_unanswered_sample_has_failed_if_strict():
    one = answered("tvg", "5 - 12", tgt=[5, 12])
    found = evaluate([one], [answered("tvg", "", 1, tgt=[5, 12]).sample], likeness())
    assert found.published.overall["TVG_F1"] == 1.0
    assert found.strict.overall["TVG_F1"] == 0.5
    assert found.num_unanswered == 1


def test_without_an_awkward_answer_both_scores_are_the_same():
    plain = [
        answered("rar", "Best Option: (B)"),
        answered("rvq", "(B)", o=(*FOUR, "none")),
        answered("tvg", "The event happens in 5 - 10 seconds.", tgt=[5, 12]),
        answered("tal", "0 - 10, 21 - 30 seconds", tgt=TWO),
        answered("evs", "0 - 10, 25 - 30 seconds", tgt=TWO),
        answered("vhd", "The highlight moment happens at 5.0 seconds.", tgt=TWO),
        answered("tem", "The similar event happens in 20 - 28 seconds.", tgt=TWO),
        answered("gvq", "Best Option: (B). The event happens in 5 - 10.", tgt=[5, 12]),
        answered("dvc", "0 - 9 seconds, a man walks.\n20 - 30 seconds, it runs.", tgt=TWO, g=G),
    ]
    found = evaluate(plain, [], likeness())
    for task, sources in found.published.by_task_source.items():
        assert found.strict.by_task_source[task] == sources


def test_the_document_for_readers_names_every_mend():
    page = (Path(__file__).parents[3] / "docs" / "etbench.md").read_text(encoding="utf-8")
    for mend in Mend:
        assert f"| {mend.number} | {mend.sentence} |" in page


def test_every_mend_has_a_test():
    numbers = {int(name.split("_")[1]) for name in globals() if name[5:6].isdigit()}
    assert numbers == {mend.number for mend in Mend}
