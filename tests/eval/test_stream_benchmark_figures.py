"""What the stream-world benchmark makes of answers, against sums done by hand."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.run.cost import Cost
from eval.run.evidence_age import AGES_S
from eval.run.record_file import RecordFile
from eval.stream_benchmark.figures import Accuracy, accuracy, figures, negative
from eval.stream_benchmark.record import Record
from eval.stream_benchmark.report import PolicyReport, document, tables
from eval.stream_benchmark.watches import WatchFigures, WatchRecord


def record(right=True, **changes):
    """A rightly answered present question in ordinary words, unless changed."""
    fields = {
        "stream": "stream0",
        "style": "seen",
        "wording": "train",
        "kind": "color",
        "text": "what color is the star?",
        "truth": "red",
        "given": "red" if right else "blue",
        "asked_s": 60,
        "evidence_age_s": 0,
        "is_needle": False,
        "is_right": right,
        "is_exact": right,
        "ttft_ms": 10.0,
        "recall": None,
    }
    return Record(**{**fields, **changes})


def percent(found):
    return None if found is None else found.percent


def test_the_standard_error_is_clustered_by_stream():
    # Mean 1/2. Stream a: 1/2 + 1/2 - 1/2 = 1/2; stream b: -1/2. The root of 2/1 of (1/4 + 1/4).
    answers = [(True, "a"), (True, "a"), (False, "a"), (False, "b")]
    found = accuracy([record(right, stream=stream) for right, stream in answers])
    assert found == Accuracy(50.0, pytest.approx(100 * math.sqrt(1.0) / 4), 4)


def test_streams_that_agree_have_no_standard_error_and_one_stream_has_an_unknown_one():
    mixed = [True, False]
    agreeing = [record(right, stream=stream) for stream in "ab" for right in mixed]
    assert accuracy(agreeing).stderr == 0
    assert accuracy([record(right) for right in mixed]).stderr is None
    assert accuracy([]) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_with_one_question_a_stream_it_is_the_ordinary_standard_error(answers):
    records = [record(right, stream=str(i)) for i, (right, _) in enumerate(answers)]
    share = sum(right for right, _ in answers) / len(answers)
    ordinary = 100 * math.sqrt(share * (1 - share) / (len(answers) - 1))
    assert accuracy(records).stderr == pytest.approx(ordinary, abs=1e-9)


def test_negative_is_the_worse_of_yes_and_no():
    asked = [
        record(True, kind="exist", truth="yes"),
        record(True, kind="seen_yet", truth="yes"),
        record(True, kind="seen_yet", truth="no"),
        record(False, kind="exist", truth="no"),
        record(False, kind="watch", truth="not yet"),
        record(False, kind="color", truth="no"),  # of no kind that is asked with yes or no
    ]
    assert percent(negative(asked)) == pytest.approx(100 / 3)
    always_no = [record(r.truth != "yes", kind=r.kind, truth=r.truth) for r in asked]
    assert percent(negative(always_no)) == 0
    assert negative([record()]) is None
    assert negative([r for r in asked if r.truth == "yes"]) is None


def test_what_is_held_out_counts_in_its_own_group_only():
    found = figures(
        [
            record(True),
            record(False, kind="when_first", truth="at 0h00m05s", is_exact=False),
            record(True, kind="when_last", truth="at 0h00m10s", is_exact=False),
            record(True, wording="held_out"),
            record(False, wording="held_out", kind="when_first"),
            record(True, style="held_out"),
            record(True, kind="seen_yet", truth="no", evidence_age_s=None, is_needle=True),
        ]
    )
    assert {name: percent(group) for name, group in found.groups.items()} == {
        "present": 100,
        "past": pytest.approx(200 / 3),
        "times": 50,
        "heldout_phrasing": 50,
        "heldout_style": 100,
        "negative": None,
        "needles": 100,
        "all": 75,
    }
    assert found.times_exact == 0
    assert percent(found.by_kind["when_first"]) == 0
    assert found.by_kind["order"] is None
    assert found.num_questions == 7


def test_both_figures_of_times_are_over_the_true_answers_that_are_times():
    found = figures(
        [
            record(True, kind="when_first", truth="at 0h00m10s", is_exact=False),
            record(False, kind="when_first", truth="at 0h00m20s"),
            record(True, kind="when_last", truth="right now"),
            record(False, kind="when_last", truth="at 0h00m30s"),
            *[record(True, kind=kind, truth="not seen") for kind in ("when_first", "when_last")],
        ]
    )
    assert found.groups["times"].num_questions == 4
    assert percent(found.groups["times"]) == 50
    assert found.times_exact == 25
    assert found.by_kind["when_first"].num_questions == 3
    only_unseen = figures([record(kind="when_first", truth="not seen")])
    assert only_unseen.groups["times"] is only_unseen.times_exact is None


def test_evidence_goes_into_the_group_of_its_age():
    ages_s = {"<1min": (0, 59), "1-10min": (60, 599), "10-60min": (600, 3599), ">1h": (3600, 1e5)}
    assert list(AGES_S) == list(ages_s)
    for group, ages in ages_s.items():
        by_age = figures([record(kind="order", evidence_age_s=age) for age in ages]).by_age
        assert {name for name, found in by_age.items() if found} == {group}
        assert by_age[group].num_questions == 2
    for other in (record(kind="order", evidence_age_s=None), record(evidence_age_s=0)):
        assert not any(figures([other]).by_age.values())


def test_recall_is_averaged_layer_by_layer_over_questions_with_evidence():
    found = figures(
        [
            record(kind="order", recall=(1.0, 0.5)),
            record(kind="after", recall=(0.5, 0.0)),
            record(kind="seen_yet", recall=(0.0, 0.0)),
            record(recall=(1.0, 1.0)),
            record(kind="order", ttft_ms=30.0),
        ]
    )
    assert found.recall == (0.75, 0.25)
    assert found.ttft_ms == 10
    assert figures([record()]).recall is None


def test_answers_on_record_are_scored_by_the_rules_of_today():
    stale = record(kind="count", truth="2", given="two", is_right=False, is_exact=True)
    again = Record.from_json(stale.to_json())
    assert (again.is_right, again.is_exact) == (True, False)


def test_watches_count_what_was_told_in_time_and_what_was_told_for_nothing():
    told = WatchRecord("stream0", "tell me", 300, (10, 100), (15, 106, 200), num_false_alarms=1)
    silent = WatchRecord("stream0", "tell me", 420, (), (), num_false_alarms=0)
    assert WatchFigures.of([told, silent]) == WatchFigures(50.0, 5.0, 2, 2)
    assert WatchFigures.of([silent]).fired_within_5s is None


def test_the_document_has_every_figure_and_null_for_what_was_not_asked():
    costs = [
        Cost("default", "stream0", 1800.0, 1800, 0, 20.0, 40_000),
        Cost("default", "stream1", 1800.0, 1800, 0, 25.0, 60_000),
    ]
    policy = PolicyReport(figures([record()]), costs, WatchFigures(50.0, 5.0, 2, 2))
    baseline = PolicyReport(figures([record(ttft_ms=None)]), [Cost("majority", "stream0", 1800.0)])
    found = json.loads(json.dumps(document({"default": policy, "majority": baseline})))
    default, majority = found["default"], found["majority"]
    assert default["present"] == 100
    assert default["past"] is default["by_age"][">1h"] is default["stderr"]["present"] is None
    assert default["bytes_per_hour"] == 100_000
    assert default["ingest_fps"] == 80
    assert default["watches"]["false_alarms_per_hour"] == 5
    assert majority["ingest_fps"] is majority["ttft_ms"] is majority["recall"] is None
    assert majority["bytes_per_hour"] is None
    assert "watches" not in majority
    assert all(
        table.row_count for table in tables({"default": policy}) if "layer" not in table.title
    )


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
