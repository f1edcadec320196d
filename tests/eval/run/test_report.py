"""The report of a run: its figures against plain formulas, its page, its plots."""

import base64
import re
import statistics
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.run.cost import Cost, write_costs
from eval.run.plots import plots
from eval.run.report import policy_table, write_report
from eval.run.run_directory import RunDirectory
from eval.run.scored import Scored, write_scored
from eval.run.summary import Latency, summaries


def scored(policy, video, number, score, age_s=None, ms=None, group=""):
    name = f"{video}/{number}"
    return Scored(name, video, policy, "t<1>", "q?", "g", "t", score, 9.0, age_s, ms, group)


RECORDS = [
    *(
        scored("default", v, n, float(n < 3), 30.0 * 10**n, 10.0 + n)
        for v in "ab"
        for n in range(4)
    ),
    *(scored("language", v, n, 0.0) for v in "ab" for n in range(4)),
]
COSTS = [
    Cost("default", "a", 1800.0, 1800, 3, 20.0, 50_000_000, None, 700_000_000, "RSS"),
    Cost("default", "b", 900.0, 900, 0, 10.0, 25_000_000, None, 800_000_000, "RSS"),
    Cost("language", "a", 1800.0),
]


def test_a_contender_with_a_long_name_is_drawn():
    """A warning of matplotlib's that there is no room is an error here."""
    name = "every_second_block+int4+1of20+recent_frames=4+retrieve_blocks=6"
    records = [scored(name, "a", number, 1.0, 30.0, 10.0 + number) for number in range(2)]
    cost = Cost(name, "a", 36.0, 36, 3, 20.0, 1_000_000, None, 700_000_000, "RSS")
    drawn = plots(summaries(records, [cost]))
    assert len(drawn) == 4
    assert all(b"retrieve" in plot for plot in drawn.values())


def test_the_figures_of_a_policy():
    default, language = summaries(RECORDS, COSTS)
    assert default.accuracy.mean == 75.0
    assert default.accuracy.num_questions == 8
    assert default.accuracy.stderr == 0.0  # both videos are alike
    assert {age: e.mean for age, e in default.by_age.items()} == {
        "<1min": 100.0,
        "1-10min": 100.0,
        "10-60min": 100.0,
        ">6h": 0.0,
    }
    assert default.latency.median_ms == statistics.median([10, 11, 12, 13] * 2)
    assert default.latency.p95_ms == 13.0
    assert default.ingest_fps == 90.0
    assert default.num_dropped == 3
    assert default.bytes_per_hour == 100_000_000
    assert (default.peak_bytes, default.peak_of) == (800_000_000, "RSS")
    assert language.latency is None
    assert language.bytes_per_hour is None
    assert language.num_dropped is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200))
def test_95_of_100_are_no_slower_than_the_95th_percentile(times_ms):
    p95_ms = Latency(tuple(times_ms)).p95_ms
    assert sum(ms <= p95_ms for ms in times_ms) >= 0.95 * len(times_ms)
    assert sum(ms < p95_ms for ms in times_ms) < 0.95 * len(times_ms)


def test_blocks_that_became_coarser_are_told_in_the_table():
    default = RECORDS[:8]
    aged = policy_table(summaries(default, [replace(COSTS[0], num_aged=7), COSTS[1]]))
    assert aged.rows[0][aged.columns.index("aged")] == "7"
    assert any("VSTREAM_MEMORY__HOST_BYTES" in note for note in aged.notes)
    whole = policy_table(summaries(default, [replace(COSTS[0], num_aged=0), COSTS[1]]))
    assert "aged" not in whole.columns


def test_the_table_says_that_all_has_what_is_held_out_where_anything_is():
    def notes(*groups):
        records = [scored("default", "a", n, 1.0, group=group) for n, group in enumerate(groups)]
        return " ".join(policy_table(summaries(records, [])).notes)

    told = "all, evidence: every question counts, held-out wordings and styles included"
    assert told in notes("past", "held-out wording")
    assert told in notes("present", "held-out style")
    assert told not in notes("past", "present")


def test_columns_that_say_nothing_are_left_out():
    table = policy_table(summaries(RECORDS[8:], []))
    assert table.columns == ("policy", "all")
    assert table.rows == (("language", "0.0 ± 0.0"),)


@pytest.fixture
def run(tmp_path):
    with RunDirectory(tmp_path, {"benchmark": "made <up>", "seed": 3}):
        write_scored(tmp_path, RECORDS)
        write_costs(tmp_path, COSTS)
        write_report(tmp_path, {"full": "no room"})
    return tmp_path


def test_the_markdown_has_the_table_and_how_it_was_made(run):
    text = (run / "report.md").read_text()
    assert "# made <up>: 8 questions about 2 videos" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| default")]
    assert "75.0 ± 0.0" in row
    assert "12 / 13" in row
    assert "100.0 | 800 |" in row
    assert "- left out: full: `no room`" in text
    assert '"seed": 3' in text


def test_the_page_stands_alone_with_plots_that_can_be_drawn(run):
    text = (run / "report.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    assert "<script" not in text
    assert "made &lt;up&gt;" in text
    assert "t&lt;1&gt;" in text
    figures = re.findall(r'<img alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)"', text)
    assert [name for name, _ in figures] == [
        "Accuracy by part of the benchmark",
        "Accuracy by age of the evidence",
        "Memory against accuracy",
        "Time to the first token",
    ]
    for _, data in figures:
        assert ET.fromstring(base64.b64decode(data)).tag.endswith("svg")


def test_the_same_run_has_the_same_page(run):
    before = (run / "report.html").read_bytes()
    write_report(run, {"full": "no room"})
    assert (run / "report.html").read_bytes() == before
