"""The paired difference of two runs: equal to plain formulas, and what it refuses."""

import itertools
import json
import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from eval.commands import cli
from eval.run.compare import Side, compare
from eval.run.paired import flip_p, mcnemar_p, paired
from eval.run.scored import Scored, write_scored
from vstream import SettingsError


def scored(number, score, video="a", policy="default"):
    return Scored(f"{video}/{number}", video, policy, "count", "how many?", "1", "2", score, 10.0)


def pairs_of(*differences, video=None):
    """One question a video: right after, or right before."""
    return [
        (scored(0, float(d < 0), video or f"v{i}"), scored(0, float(d > 0), video or f"v{i}"))
        for i, d in enumerate(differences)
    ]


def test_the_error_is_that_of_the_differences():
    found = paired(pairs_of(1, 1, 0, -1, 1))
    values = [1, 1, 0, -1, 1]
    assert found.difference == pytest.approx(100 * statistics.fmean(values))
    assert found.stderr == pytest.approx(100 * statistics.stdev(values) / math.sqrt(5))
    assert (found.num_better, found.num_worse, found.num_videos) == (3, 1, 5)


def test_answers_that_are_right_on_the_same_questions_differ_less_than_their_errors_say():
    before = [scored(0, float(i % 2), f"v{i}") for i in range(40)]
    after = [
        replace(record, score=1.0 if i == 0 else record.score) for i, record in enumerate(before)
    ]
    found = paired(list(zip(before, after, strict=True)))
    alone = 100 * statistics.stdev([r.score for r in before]) / math.sqrt(40)
    assert found.stderr < alone / 2


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8))
def test_the_flips_are_all_that_there_are(sums):
    observed = abs(sum(sums))
    flipped = [
        abs(sum(sign * value for sign, value in zip(signs, sums, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(sums))
    ]
    expected = sum(value >= observed for value in flipped) / len(flipped)
    assert flip_p(sums) == pytest.approx(expected)


def test_many_videos_are_flipped_at_random_to_nearly_the_same():
    sums = [1, 1, 1, -1, 1, 1, 1, -1, 1, 1, 1, 1, 1, -1, 1, 1, -1, 1, 1, 1]
    tail = sum(math.comb(20, k) for k in range(5)) / 2**20
    assert flip_p(sums) == pytest.approx(2 * tail, rel=0.15)


def test_videos_and_not_questions_are_flipped():
    one_video = paired(pairs_of(*[1] * 10, video="v"))
    assert one_video.flip_p == 1.0
    assert one_video.stderr is None
    assert one_video.mcnemar_p == pytest.approx(2 / 2**10)
    assert paired(pairs_of(*[1] * 10)).flip_p == pytest.approx(2 / 2**10)


@pytest.mark.parametrize(
    ("better", "worse", "p"), [(0, 0, 1.0), (1, 1, 1.0), (5, 0, 0.0625), (8, 2, 0.109375)]
)
def test_mcnemar_is_a_sign_test(better, worse, p):
    assert mcnemar_p(better, worse) == pytest.approx(p)


def test_shares_have_no_mcnemar():
    assert paired([(scored(0, 0.25), scored(0, 0.75))]).mcnemar_p is None


@pytest.fixture
def runs(tmp_path):
    """Two runs of two policies; in the second the default is right once more."""
    for name, right in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        records = [
            scored(number, float(number < 3 + right * (policy == "default")), video, policy)
            for policy in ("default", "window")
            for video in ("a", "b")
            for number in range(6)
        ]
        write_scored(tmp_path / name, records)
    return tmp_path / "one", tmp_path / "two"


def test_every_policy_is_compared_with_its_namesake(runs):
    one, two = runs
    found = {c.before.split(":")[-1]: c.paired for c in compare(Side(one), Side(two))}
    assert {name: result.num_better for name, result in found.items()} == {
        "default": 2,
        "window": 0,
    }
    changed = [change.before.question_id for change in found["default"].changes]
    assert changed == ["a/3", "b/3"]


def test_policies_of_one_run_are_compared(runs):
    _, two = runs
    (found,) = compare(Side.parse(f"{two}:window"), Side.parse(f"{two}:default"))
    assert found.paired.difference == pytest.approx(100 * 2 / 12)


def test_a_directory_may_have_a_colon_in_its_name(tmp_path):
    (tmp_path / "run:1").mkdir()
    assert Side.parse(str(tmp_path / "run:1")) == Side(tmp_path / "run:1")
    assert Side.parse(f"{tmp_path}/run:1:window") == Side(tmp_path / "run:1", "window")


def test_other_questions_are_refused_by_number_and_name(runs, tmp_path):
    one, two = runs
    (tmp_path / "three").mkdir()
    few = [scored(number, 1.0, "a") for number in range(7)]
    few[0] = replace(few[0], truth="3")
    write_scored(tmp_path / "three", few)
    with pytest.raises(SettingsError) as error:
        compare(Side(two, "default"), Side(tmp_path / "three"))
    said = str(error.value)
    assert "6 asked only in the first (b/0, b/1, b/2, ...)" in said
    assert "1 asked only in the second (a/6)" in said
    assert "1 under one id different questions, moments or true answers (a/0)" in said
    with pytest.raises(SettingsError, match="has no policy 'best'; it has default, window"):
        compare(Side(one, "best"), Side(two))
    with pytest.raises(SettingsError, match="no run with scored questions"):
        compare(Side(tmp_path), Side(two))
    write_scored(tmp_path / "three", [scored(0, 1.0, policy=p) for p in ("x", "y")])
    with pytest.raises(SettingsError, match="no policy is in both"):
        compare(Side(one), Side(tmp_path / "three"))


def test_the_command_lists_what_changed_and_ends_with_one_document(runs):
    one, two = map(str, runs)
    result = CliRunner().invoke(cli, ["compare", one, two, "--json"])
    assert result.exit_code == 0, result.output
    default, window = json.loads(result.stdout.strip().splitlines()[-1])
    assert default["difference"] == pytest.approx(100 * 2 / 12, abs=1e-3)
    assert [change["question_id"] for change in default["changed"]] == ["a/3", "b/3"]
    assert window["p"] == 1.0
    assert "a/3" in result.stdout
    refused = CliRunner().invoke(cli, ["compare", f"{one}:best", two])
    assert refused.exit_code == 2
    assert "policy 'best'" in " ".join(refused.stderr.replace("│", " ").split())
