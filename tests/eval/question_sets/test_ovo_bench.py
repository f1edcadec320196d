"""OVO-Bench's scores and table, against its published formulas worked out by hand."""

import pytest
from hand_made_sets import (
    OVO_TASKS,
    ovo_choice,
    ovo_count,
    ovo_enough,
    ovo_entries,
    ovo_step,
    published,
    score_all,
    strict,
    write_ovo,
)

from eval.question_sets.ovo_bench import OvoBench

CHOICES = {
    # the truth is C: the published score, the strict one
    "C": (1, 1),
    "(C) Blue.": (1, 1),
    "c": (0, 1),
    "B": (0, 0),
    "ABCD": (1, 0),
    "B, not C": (1, 0),
    "Cup": (1, 0),
    "": (0, 0),
    "  ": (0, 0),
    None: (0, 0),
    "\uff23": (0, 0),
}
COUNTS = {
    # the truth is 12
    "12": (1, 1),
    "They did it 12 times.": (1, 1),
    "1 or 2": (1, 0),
    "012": (0, 1),
    "\u0661\u0662": (0, 1),
    "12.0": (0, 0),
    "-12": (1, 1),
    "twelve": (0, 0),
    "": (0, 0),
    None: (0, 0),
    "9" * 5000: (0, 0),
}
WORDS = {
    # the truth is No
    "No": (1, 1),
    "N": (1, 1),
    "No.": (1, 1),
    "no": (0, 1),
    "Yes": (0, 0),
    "Yes. No": (1, 0),
    "Not sure": (1, 0),
    "NO": (0, 1),
    "": (0, 0),
    None: (0, 0),
}


def scores(item, cases):
    outcomes = {text: OvoBench().score(item, (text,)) for text in cases}
    return {text: (found.published, found.strict) for text, found in outcomes.items()}


def only_item(tmp_path, entry):
    [item] = OvoBench().load(write_ovo(tmp_path, [entry]))
    return item


def test_choices_of_all_kinds(tmp_path):
    assert scores(only_item(tmp_path, ovo_choice()), CHOICES) == CHOICES


def test_counts_of_all_kinds(tmp_path):
    assert scores(only_item(tmp_path, ovo_count(counts=[12])), COUNTS) == COUNTS


@pytest.mark.parametrize("make", [ovo_step, ovo_enough])
def test_yes_and_no_of_all_kinds(tmp_path, make):
    assert scores(only_item(tmp_path, make(types=[0])), WORDS) == WORDS


def test_a_short_yes_is_a_yes_only_by_itself(tmp_path):
    cases = {"Y": (1, 1), "Yes": (1, 1), "Y.": (0, 1), "N": (0, 0), "Yes or No": (1, 0)}
    assert scores(only_item(tmp_path, ovo_step(types=[1])), cases) == cases


def test_probes_are_items_named_as_the_authors_name_their_clips(tmp_path):
    items = OvoBench().load(write_ovo(tmp_path))
    assert [item.id for item in items[-6:]] == ["20_0", "20_1", "21_0", "21_1", "22_0", "22_1"]
    assert [item.answer for item in items[-6:]] == ["0", "2", "No", "Yes", "No", "Yes"]
    assert [item.task for item in OvoBench().load(tmp_path, ["SSR", "EPM"])] == [
        "EPM",
        "SSR",
        "SSR",
    ]


def test_a_category_is_the_mean_of_its_tasks_and_the_total_of_its_categories(tmp_path):
    # Two EPM questions, one right; ASI right, HLD wrong. Of the six real-time tasks OCR is right.
    # Of two counts one is right, of two steps both, of two CRR probes none.
    entries = [ovo_choice(100, "EPM", video="Ego4D/z.mp4"), *ovo_entries()]
    items = OvoBench().load(write_ovo(tmp_path, entries))
    right = ["C", "A", "C", "A", "C", "A", "A", "A", "A", "A"]
    outcomes = score_all(OvoBench(), items, *right, "0", "1", "No", "Yes", "Yes", "No")
    table = published(OvoBench().aggregate(outcomes))
    backward, realtime, forward = (0.5 + 1 + 0) / 3, 1 / 6, (0.5 + 1 + 0) / 3
    assert (table["EPM"], table["ASI"], table["HLD"]) == (50, 100, 0)
    assert (table["REC"], table["SSR"], table["CRR"]) == (50, 100, 0)
    assert table["Backward Tracing"] == pytest.approx(100 * backward)
    assert table["Real-Time Visual Perception"] == pytest.approx(100 * realtime, abs=1e-3)
    assert table["Forward Active Responding"] == pytest.approx(100 * forward)
    total = 100 * (backward + realtime + forward) / 3
    assert table["Total"] == pytest.approx(total, abs=1e-3)
    assert strict(OvoBench().aggregate(outcomes)) == table


def test_always_saying_every_letter_is_perfect_as_published_and_nothing_strictly(tmp_path):
    items = OvoBench().load(write_ovo(tmp_path), OVO_TASKS)
    rows = OvoBench().aggregate(score_all(OvoBench(), items, *["ABCD"] * len(items)))
    assert published(rows)["Backward Tracing"] == 100
    assert strict(rows)["Backward Tracing"] == 0


def test_a_row_that_lacks_a_task_has_no_figure(tmp_path):
    items = OvoBench().load(write_ovo(tmp_path), ["EPM", "ASI", "HLD", "OCR"])
    table = published(OvoBench().aggregate(score_all(OvoBench(), items, *"CCCC")))
    assert table["Backward Tracing"] == 100
    assert table["OCR"] == 100
    assert table["Real-Time Visual Perception"] is None
    assert table["Total"] is None


def test_what_is_not_among_the_results_is_left_out_and_a_failed_answer_is_wrong(tmp_path):
    entries = [ovo_choice(n, "EPM", video=f"{n}.mp4") for n in range(4)]
    items = OvoBench().load(write_ovo(tmp_path, entries))
    outcomes = [
        OvoBench().score(i, t) for i, t in zip(items, [("C",), (None,), (), ()], strict=True)
    ]
    row = OvoBench().aggregate(outcomes)[0]
    assert (row.published.mean, row.published.num_questions) == (50, 2)
    assert (row.strict.mean, row.strict.num_questions) == (25, 4)
