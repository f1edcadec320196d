"""How citations are scored, against sums done by hand."""

import pytest

from eval.run.scored import Scored
from eval.stream_benchmark.citation_figures import citation_document, citation_table
from eval.stream_benchmark.citations import MOMENTS, MOST, SPANS, Citation, citations_of
from eval.stream_benchmark.record import Record
from eval.stream_world.history import Period

SAID = {
    "newest_frame_s": 50.0,
    "seen_s": [(float(s), float(s), 1 - s / 100) for s in range(10, 20)],
    "cited_s": [(10.0, 14.0, 0.5), (30.0, 31.0, 0.2), (49.0, 50.0, 0.1)],
}


def test_seconds_that_cited_and_evidence_share_are_counted():
    found = citations_of(SAID, [Period(12, 15), Period(50, 50), Period(60, 61)])
    # Spans: 10 to 13, 30, 49 and 50, the newest. Moments: the best five, 10 to 14.
    assert found[SPANS] == Citation(2 / 3, 3 / 11)
    assert found[MOMENTS] == Citation(1 / 3, 3 / 9)


def test_only_the_best_five_count_and_a_span_of_one_moment_is_a_second():
    cited = [(float(s), float(s), s / 100) for s in (1, 3, 5, 7, 9, 11)]
    found = citations_of({**SAID, "cited_s": cited}, [Period(1, 1), Period(11, 11)])
    assert MOST == 5
    assert found[SPANS] == Citation(1 / 2, 1 / 6)


def test_who_cites_nothing_has_nothing():
    found = citations_of({**SAID, "cited_s": []}, [Period(12, 15)])
    assert found[SPANS] == Citation(0.0, 0.0)
    for said in ({}, {**SAID, "seen_s": []}):
        assert citations_of(said, [Period(12, 15)]) == {}
    assert citations_of(SAID, []) == {}


def record(age_s, recall, iou, task="color_last", group="past"):
    scored = Scored("a/0", "a", "default", task, "?", "red", "red", 1.0, 60.0, age_s, group=group)
    return Record(scored, citations={SPANS: Citation(recall, iou), MOMENTS: Citation(0.0, 0.0)})


def test_means_are_by_age_over_questions_about_the_past():
    records = [
        record(30.0, 1.0, 0.5),
        record(90.0, 0.0, 0.1),
        record(100.0, 0.5, 0.2),
        record(30.0, 1.0, 1.0, task="seen_yet"),
        record(30.0, 1.0, 1.0, group="held-out wording"),
    ]
    found = citation_document(records)[SPANS]
    assert found["all"] == {"recall": 0.5, "iou": pytest.approx(0.2667), "questions": 3}
    assert found["1-10min"] == {"recall": 0.25, "iou": 0.15, "questions": 2}
    assert found["10-60min"] is None
    table = citation_table({"default": records, "language": []})
    assert table.columns[1:] == ("all", "<1min", "1-10min")
    assert table.rows[0] == (
        "default: spans",
        "0.50 / 0.27 of 3",
        "1.00 / 0.50 of 1",
        "0.25 / 0.15 of 2",
    )
    assert citation_table({"language": []}) is None
