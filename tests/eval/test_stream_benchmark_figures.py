"""What the stream-world benchmark makes of answers, against sums done by hand."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.clustered_error import Estimate
from eval.run.cost import Cost
from eval.run.run_directory import RecordFile
from eval.run.scored import AGES_S, Scored
from eval.stream_benchmark.exam import ExamQuestion, ExamStream
from eval.stream_benchmark.figures import ContenderReport, accuracy, figures, negative
from eval.stream_benchmark.record import NEW_STYLE, NEW_WORDING, Record, record_of
from eval.stream_benchmark.watches import WatchFigures, WatchOutcome
from eval.stream_world import Question, Script
from eval.stream_world.past import PAST


def record(right=True, **changes):
    """A rightly answered present question in ordinary words, unless changed."""
    fields = {
        "question_id": "stream0/0",
        "video": "stream0",
        "policy": "default",
        "task": "color",
        "question": "what color is the star?",
        "truth": "red",
        "given": "red" if right else "blue",
        "score": float(right),
        "asked_s": 60,
        "evidence_age_s": None,
        "first_token_ms": 10.0,
        "group": "present",
    }
    if changes.get("task") in PAST:
        fields |= {"group": "past", "evidence_age_s": 0}
    own = {name: changes.pop(name) for name in ("is_needle", "recall", "held") if name in changes}
    exact = changes.pop("is_exact", right)
    return Record(Scored(**{**fields, **changes}), is_exact=exact, **own)


def percent(found):
    return None if found is None else found.mean


def test_the_standard_error_is_clustered_by_stream():
    # Mean 1/2. Stream a: 1/2 + 1/2 - 1/2 = 1/2; stream b: -1/2. The root of 2/1 of (1/4 + 1/4).
    answers = [(True, "a"), (True, "a"), (False, "a"), (False, "b")]
    found = accuracy([record(right, video=stream) for right, stream in answers])
    assert found == Estimate(50.0, pytest.approx(100 * math.sqrt(1.0) / 4), 4)


def test_streams_that_agree_have_no_standard_error_and_one_stream_has_an_unknown_one():
    mixed = [True, False]
    agreeing = [record(right, video=stream) for stream in "ab" for right in mixed]
    assert accuracy(agreeing).stderr == 0
    assert accuracy([record(right) for right in mixed]).stderr is None
    assert accuracy([]) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_with_one_question_a_stream_it_is_the_ordinary_standard_error(answers):
    records = [record(right, video=str(i)) for i, (right, _) in enumerate(answers)]
    share = sum(right for right, _ in answers) / len(answers)
    ordinary = 100 * math.sqrt(share * (1 - share) / (len(answers) - 1))
    assert accuracy(records).stderr == pytest.approx(ordinary, abs=1e-9)


def test_negative_is_the_worse_of_yes_and_no():
    asked = [
        record(True, task="exist", truth="yes"),
        record(True, task="seen_yet", truth="yes"),
        record(True, task="seen_yet", truth="no"),
        record(False, task="exist", truth="no"),
        record(False, task="watch", truth="not yet"),
        record(False, task="color", truth="no"),  # of no kind that is asked with yes or no
    ]
    assert percent(negative(asked)) == pytest.approx(100 / 3)
    always_no = [
        record(r.scored.truth != "yes", task=r.scored.task, truth=r.scored.truth) for r in asked
    ]
    assert percent(negative(always_no)) == 0
    assert negative([record()]) is None
    assert negative([r for r in asked if r.scored.truth == "yes"]) is None


def test_what_is_held_out_counts_in_its_own_group_only():
    found = figures(
        [
            record(True),
            record(False, task="when_first", truth="at 0h00m05s", is_exact=False),
            record(True, task="when_last", truth="at 0h00m10s", is_exact=False),
            record(True, group=NEW_WORDING),
            record(False, group=NEW_WORDING, task="when_first"),
            record(True, group=NEW_STYLE),
            record(True, task="seen_yet", truth="no", evidence_age_s=None, is_needle=True),
        ]
    )
    assert {name: found[name] for name in list(found)[:8]} == {
        "present": 100,
        "past": 66.67,
        "times": 50,
        "heldout_phrasing": 50,
        "heldout_style": 100,
        "negative": None,
        "needles": 100,
        "all": 75,
    }
    assert found["times_exact"] == 0
    assert found["by_kind"]["when_first"] == 0
    assert found["by_kind"]["order"] is None
    assert found["questions"] == 7


def test_both_figures_of_times_are_over_the_true_answers_that_are_times():
    found = figures(
        [
            record(True, task="when_first", truth="at 0h00m10s", is_exact=False),
            record(False, task="when_first", truth="at 0h00m20s"),
            record(True, task="when_last", truth="right now"),
            record(False, task="when_last", truth="at 0h00m30s"),
            *[record(True, task=kind, truth="not seen") for kind in ("when_first", "when_last")],
        ]
    )
    assert found["times"] == 50
    assert found["times_exact"] == 25, "one of four"
    assert found["by_kind"]["when_first"] == 66.67
    only_unseen = figures([record(task="when_first", truth="not seen")])
    assert only_unseen["times"] is only_unseen["times_exact"] is None


def test_evidence_goes_into_the_group_of_its_age():
    ages_s = {
        "<1min": (0, 59),
        "1-10min": (60, 599),
        "10-60min": (600, 3599),
        "1-6h": (3600, 21599),
        ">6h": (21600, 1e5),
    }
    assert list(AGES_S) == list(ages_s)
    for group, ages in ages_s.items():
        both = [record(bool(n), task="order", evidence_age_s=age) for n, age in enumerate(ages)]
        by_age = figures(both)["by_age"]
        assert {name: found for name, found in by_age.items() if found} == {group: 50}
    for other in (record(task="order", evidence_age_s=None), record()):
        assert not any(figures([other])["by_age"].values())


def test_recall_is_averaged_layer_by_layer_over_questions_with_evidence():
    found = figures(
        [
            record(task="order", recall=(1.0, 0.5)),
            record(task="after", recall=(0.5, 0.0)),
            record(task="seen_yet", recall=(0.0, 0.0)),
            record(recall=(1.0, 1.0)),
            record(task="order", first_token_ms=30.0),
        ]
    )
    assert found["recall"] == [0.75, 0.25]
    assert found["ttft_ms"] == 10
    assert figures([record()])["recall"] is None


def test_what_the_memory_still_holds_is_averaged_by_age():
    found = figures(
        [
            record(task="order", evidence_age_s=100, held=0.5),
            record(task="after", evidence_age_s=200, held=1.0),
            record(task="order", evidence_age_s=10, held=None),
        ]
    )
    assert found["held_by_age"]["1-10min"] == 0.75
    assert found["held_by_age"]["<1min"] is None


def test_an_answer_is_scored_and_one_that_could_not_be_had_is_wrong():
    asked = Question("count", "how many?", "2", 60, (), ())
    stream = ExamStream("stream0", Script(0, (), (), ()), "seen", (ExamQuestion(asked, "train"),))
    right = record_of("default", stream, 0, "two", {"first_token_ms": 3.0, "recall": [1.0]})
    assert (right.scored.score, right.is_exact) == (1.0, False), "exact is said of times"
    assert (right.scored.question_id, right.scored.group) == ("stream0/0", "present")
    assert (right.scored.first_token_ms, right.recall) == (3.0, (1.0,))
    none = record_of("default", stream, 0, None, {})
    assert (none.scored.score, none.scored.given, none.recall) == (0.0, "", None)


def test_watches_count_what_was_told_in_time_and_what_was_told_for_nothing():
    told = WatchOutcome(300, (10, 100), (15, 106, 200), num_false_alarms=1)
    silent = WatchOutcome(420, (), (), num_false_alarms=0)
    found = WatchFigures.of([told, silent])
    # Two of three firings tell of something, one of two onsets is told: 2 / (3/2 + 2).
    expected = WatchFigures(50.0, 5.0, 2, 2, pytest.approx(200 / 3), pytest.approx(400 / 7), 5)
    assert found == expected
    none = WatchFigures.of([silent])
    assert none.fired_within_5s is none.precision is none.f1 is none.delay_s is None
    deaf = WatchFigures.of([replace(told, fired_s=(200,), num_false_alarms=1)])
    assert (deaf.precision, deaf.fired_within_5s, deaf.f1, deaf.delay_s) == (0, 0, 0, None)


def test_watches_of_whole_hours_are_counted_by_hour():
    first = WatchOutcome(3600, (10, 100), (10, 104), 0, hour=1)
    last = WatchOutcome(3600, (90_000,), (90_003, 90_100), 1, hour=25)
    found = WatchFigures.of([last, first])
    assert list(found.by_hour) == [1, 25]
    assert found.by_hour[1] == WatchFigures(100.0, 0.0, 1, 2, 100.0, 100.0, 2)
    assert found.by_hour[25].precision == 50
    assert found.num_watches == 2
    document = json.loads(json.dumps(found.document()))
    assert document["by_hour"]["25"]["delay_s"] == 3
    assert document["precision"] == 75


def test_the_document_has_every_figure_and_null_for_what_was_not_asked():
    costs = [
        Cost("default", "stream0", 1800.0, 1800, 0, 20.0, 40_000),
        Cost("default", "stream1", 1800.0, 1800, 0, 25.0, 60_000),
    ]
    kept = {
        "at_s": 1800.0,
        "blocks": 9,
        "blocks_by_codec": {"int8": 9},
        "bytes": {"file": 10**6},
        "most_bytes": {"file": 2 * 10**6},
        "index_bytes": 5,
        "resident_bytes": 7,
        "by_age": {"<1min": 1.0},
    }
    hours = [{"contender": "default", "video": "stream0", "kept": [kept, kept]}]
    policy = ContenderReport([record()], costs, WatchFigures(50.0, 5.0, 2, 2), hours)
    baseline = ContenderReport([record(first_token_ms=None)], [Cost("majority", "stream0", 1800.0)])
    documents = {"default": policy.document(), "majority": baseline.document()}
    found = json.loads(json.dumps(documents))
    default, majority = found["default"], found["majority"]
    assert default["present"] == 100
    assert default["past"] is default["by_age"][">6h"] is default["stderr"]["present"] is None
    assert default["bytes_per_hour"] == 100_000
    assert default["ingest_fps"] == 80
    assert default["watches"]["false_alarms_per_hour"] == 5
    assert majority["ingest_fps"] is majority["ttft_ms"] is majority["recall"] is None
    assert majority["bytes_per_hour"] is None
    assert "watches" not in majority
    assert default["hours"] == hours


@given(st.lists(st.dictionaries(st.sampled_from("ab"), st.text()), max_size=6), st.integers(0, 400))
def test_a_torn_line_is_dropped_and_the_next_one_is_whole(tmp_path_factory, documents, cut):
    path = tmp_path_factory.mktemp("records") / "file.jsonl"
    file = RecordFile(path)
    for line in documents:
        file.append(line)
    content = path.read_bytes() if documents else b""
    path.write_bytes(content[:cut])
    again = RecordFile(path)
    whole = content[:cut].count(b"\n")
    assert again.documents == documents[:whole]
    again.append({"a": "new"})
    assert RecordFile(path).documents == [*documents[:whole], {"a": "new"}]
