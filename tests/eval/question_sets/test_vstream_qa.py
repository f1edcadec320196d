"""VStream-QA's accuracies and score, against both published definitions by hand."""

import pytest
from hand_made_sets import hand_made, score_all, vs_entry, write_json, write_vstream

from eval.question_sets.items import oddities
from eval.question_sets.judging import JudgeReply, Judging
from eval.question_sets.scored_run import make_benchmark
from vstream import SettingsError

VERDICTS = {
    # what was answered: the judge's reply
    "a red cup": "{'pred': 'yes', 'score': 5}",
    "red": "{'pred': 'yes', 'score': 3.9}",
    "blue": "{'pred': 'no', 'score': 1}",
    "perhaps": "{'pred': 'unclear', 'score': 2}",
    "odd": "I cannot say.",
    "": "{'pred': 'no', 'score': 0}",
    "  ": "{'pred': 'no', 'score': 0}",
}


class ByAnswer:
    """Judges by what stands in the table above, and keeps what it was asked."""

    name, settings, num_parallel, num_attempts = "by-answer", "none", 2, 1

    def __init__(self):
        self.prompts = []

    def reply(self, prompt):
        user = prompt[1]["content"]
        self.prompts.append(user)
        given = user.split("Predicted Answer: ")[1].split("\n\n")[0]
        return JudgeReply(VERDICTS[given], "v1")


@pytest.fixture
def judging(tmp_path):
    return Judging(ByAnswer(), tmp_path / "replies.jsonl")


def vs_items(path, *types):
    entries = [vs_entry(f"{n % 3}", answer_type=kind) for n, kind in enumerate(types)]
    write_json(path / "vstream/test_qa_ego4d.json", entries)
    return make_benchmark("vs-ego").load(path)


def test_both_accuracies_and_the_score_by_hand(tmp_path, judging):
    items = vs_items(tmp_path, *"xxyyyy")
    benchmark = make_benchmark("vs-ego", judging)
    said = ["a red cup", "red", "blue", "perhaps", "odd", None]
    outcomes = score_all(benchmark, items, *said)
    rows = {row.name: row for row in benchmark.aggregate(outcomes)}
    flash = rows["Accuracy (Flash-VStream: yes / judged)"]
    rekv = rows["Accuracy (ReKV: yes / (yes + no))"]
    score = rows["Score"]
    # Four of six were judged readably: yes, yes, no, neither, with 5, 3, 1 and 2.
    assert (flash.published.mean, flash.published.num_questions) == (50, 4)
    assert rekv.published.mean == pytest.approx(200 / 3)
    assert rekv.published.num_questions == 3
    assert (score.published.mean, score.unit) == (pytest.approx(11 / 4), "0 to 5")
    assert flash.strict.mean == rekv.strict.mean == pytest.approx(100 / 3)
    assert score.strict.mean == pytest.approx(11 / 6)
    assert rows["Accuracy, x"].published.mean == 100
    assert rows["Accuracy, y"].published.mean == 0
    assert oddities(outcomes) == {
        "judged neither yes nor no": 1,
        "unreadable judgement": 1,
        "no answer": 1,
    }
    assert judging.versions == {"v1": 5}


def test_a_model_that_falls_silent_when_unsure_gains_nothing_by_it(tmp_path, judging):
    items = vs_items(tmp_path, *"xxxxx")
    benchmark = make_benchmark("vs-ego", judging)
    outcomes = score_all(benchmark, items, "red", "", "  ", "\n", None)
    assert [outcome.published for outcome in outcomes] == [1, 0, 0, 0, None]
    flash, rekv, rating, _ = benchmark.aggregate(outcomes)
    assert flash.published.mean == rekv.published.mean == 25
    assert rating.published.mean == 3 / 4
    assert flash.strict.mean == 20
    assert oddities(outcomes) == {"no answer": 1}


def test_the_judge_sees_the_question_the_truth_and_the_answer_in_one_line(tmp_path, judging):
    [item, *_] = vs_items(tmp_path, "x")
    make_benchmark("vs-ego", judging).score(item, ("re\nd",))
    [asked] = judging.judge.prompts
    assert "Question: What is on the table?\nCorrect Answer: a red cup\n" in asked
    assert "Predicted Answer: red\n\n" in asked


def test_without_a_judge_nothing_can_be_scored(tmp_path):
    benchmark, items = hand_made("rvs-ego", tmp_path)
    with pytest.raises(SettingsError, match="--judge"):
        benchmark.score(items[0], ("red",))


def test_questions_are_named_after_their_video_and_counted(tmp_path):
    write_vstream(tmp_path)
    assert [i.id for i in make_benchmark("vs-ego").load(tmp_path)] == [
        "000246_0",
        "000246_1",
        "000247_0",
    ]
    assert [i.id for i in make_benchmark("rvs-movie").load(tmp_path)] == ["tt2_0", "tt2_1"]


def test_what_was_not_asked_is_not_judged(tmp_path, judging):
    [item] = vs_items(tmp_path, "x")
    outcome = make_benchmark("vs-ego", judging).score(item, ())
    assert (outcome.published, outcome.strict, outcome.oddity) == (None, 0, "not asked")
    assert judging.judge.prompts == []


def test_types_of_questions_are_its_tasks(tmp_path):
    vs_items(tmp_path, "Scene Summary", "Order Judging(Y/N)")
    [item] = make_benchmark("vs-ego").load(tmp_path, ["Order Judging(Y/N)"])
    assert item.id == "1_0"
    with pytest.raises(SettingsError, match="choose of Order Judging"):
        make_benchmark("vs-ego").load(tmp_path, ["Plot"])
