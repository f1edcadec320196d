"""Each answer of the fixture by itself: what is read in it and what it scores."""

import numpy as np
import pytest
from etbench_fixture import fixture_answers, likeness, load

from eval.etbench.answers import answer_captions, answer_times
from eval.etbench.caption_score import captioned_videos, video_similarities
from eval.etbench.option_score import pick_grounded_option, pick_option
from eval.etbench.ptb_tokens import ptb_tokens
from eval.etbench.sample import OPTION_TASKS
from eval.etbench.time_scores import (
    THRESHOLDS,
    action_score,
    first_span_score,
    moment_score,
    similar_moment_score,
    summary_f1,
)

TIME_TASKS = ("tvg", "epm", "tal", "evs", "tem", "gvq")


def named(cases):
    return [pytest.param(*case, id=str(case[0].sample.key)) for case in cases]


@pytest.mark.parametrize(("one", "expected"), named(fixture_answers(*TIME_TASKS)))
def test_the_times_in_an_answer(one, expected):
    spans = [list(span) for span in answer_times(one.answer)]
    assert spans == (expected["parsed"] or [])


@pytest.mark.parametrize(("one", "expected"), named(fixture_answers(*OPTION_TASKS)))
def test_the_option_in_an_answer(one, expected):
    sample, answer = one
    if sample.task == "gvq":
        picked = pick_grounded_option(sample, answer, likeness())
    else:
        picked = pick_option(sample, answer, len(sample.o), likeness())
        assert picked.has_letter is not bool(expected["failed"])
    assert (picked.option == sample.p) is bool(expected["Acc"])
    assert (picked.likeness is not None) is expected["used_similarity"]
    if picked.likeness is not None:
        assert picked.likeness == pytest.approx(expected["similarities"], abs=2e-5)
        assert picked.option == expected["picked"]


@pytest.mark.parametrize(
    ("one", "expected"), named(fixture_answers("tvg", "epm", "tem", "tal", "vhd"))
)
def test_the_score_of_an_answer_with_times(one, expected):
    score = {
        "tvg": first_span_score,
        "epm": first_span_score,
        "tem": similar_moment_score,
        "tal": action_score,
        "vhd": moment_score,
    }[one.sample.task]
    found = score([one])
    assert found["Failed"] == expected["failed"]
    for name in ("F1", "mRec", "mIoU"):
        if name in expected:
            assert found[name] == pytest.approx(expected[name], abs=1e-5)
    at = expected.get("hits") or expected.get("f1_at") or ()
    prefix = "R@" if one.sample.task == "tem" else "F1@"
    for threshold, hit in zip(THRESHOLDS, at, strict=False):
        assert found[f"{prefix}{threshold}"] == pytest.approx(hit, abs=1e-5)


@pytest.mark.parametrize(("one", "expected"), named(fixture_answers("evs")))
def test_the_score_of_a_summary(one, expected):
    found = summary_f1(one)
    assert found == (None if expected["F1"] is None else pytest.approx(expected["F1"], abs=1e-5))


@pytest.mark.parametrize(("one", "expected"), named(fixture_answers("dvc", "slc")))
def test_the_captions_in_an_answer_and_their_score(one, expected):
    captions = answer_captions(one.answer)
    found = [[list(caption.span), caption.caption] for caption in captions]
    assert found == (expected["parsed"] or [])
    assert [ptb_tokens(caption.caption) for caption in captions] == expected.get("pred_tokens", [])
    if not captions:
        assert expected["failed"] == 1
        return
    (video,), _ = captioned_videos([one])
    between = likeness().between(video.found_texts, video.true_texts)
    for threshold, precision, recall, matched, unmatched in zip(
        THRESHOLDS,
        expected["precision"],
        expected["recall"],
        expected["matched_pairs_at"],
        expected["unmatched_pred_at"],
        strict=True,
    ):
        covered = video.overlap > threshold
        assert covered.any(axis=1).mean() == pytest.approx(precision, abs=1e-5)
        assert covered.any(axis=0).mean() == pytest.approx(recall, abs=1e-5)
        pairs = video.pairs(threshold)
        assert [pair.found for pair in pairs if pair.true is None] == unmatched
        alike = [[p.found, p.true, between[p.found, p.true]] for p in pairs if p.true is not None]
        assert np.array(alike) == pytest.approx(np.array(matched), abs=1e-3)
    similarity = np.mean(video_similarities(video, likeness()))
    # The official mean is over 32 draws: four of its standard errors, and no less than rounding.
    tolerance = 4 * expected["SentSim_std"] / 32**0.5 + 1e-3
    assert similarity == pytest.approx(expected["SentSim_mean"], abs=tolerance)


@pytest.mark.parametrize("name", ["ptb_tokens.json", "ptb_captions.json"])
def test_captions_are_tokenised_as_by_stanfords_program(name):
    cases = load(name)
    assert {case["text"]: ptb_tokens(case["text"]) for case in cases} == {
        case["text"]: case["tokens"] for case in cases
    }
