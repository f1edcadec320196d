"""Where the official scorer ends with an exception, ours counts a failure."""

import json

import pytest
from etbench_fixture import answered, figures, likeness, load
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.etbench.sample import TASKS
from eval.etbench.scores import score

CASES = load("crash_cases.json")
FIGURE = {"rvq": "Acc", "rar": "Acc", "tvg": "F1", "tal": "F1", "gvq": "mRec"}
SPAN, SPANS = [5.0, 12.0], [[5.0, 12.0], [20.0, 30.0]]


def made_up(task, answer, idx=0):
    tgt = {"tal": SPANS, "evs": SPANS, "vhd": [SPANS], "dvc": SPANS, "slc": SPANS, "tem": SPANS}
    fields = {} if task in ("rar", "eca", "rvq") else {"tgt": tgt.get(task, SPAN)}
    if task in ("dvc", "slc"):
        fields["g"] = ["a man walks.", "a dog runs."]
    return answered(task, answer, idx, **fields)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_a_case_on_which_the_official_scorer_raises_fails_alone(case):
    fields = dict(case["sample"])
    crashing = answered(case["task"], fields.pop("a"), **fields)
    right = {
        "tvg": "5 - 12",
        "tal": "5 - 12, 20 - 30",
        "gvq": "(B) 5 - 12",
        "rvq": "(B)",
        "rar": "(B)",
        "dvc": "5 - 12 seconds, a man walks. 20 - 30 seconds, a dog runs.",
    }[case["task"]]
    found = figures(crashing, made_up(case["task"], right, 1))
    assert found["Total"] == 2
    if case["raises"] is None:
        assert found["Failed"] == 0
        return
    assert found["Failed"] == 1
    assert found[FIGURE[case["task"]]] == 0.5


def test_a_time_without_a_caption_is_an_event_with_an_empty_one():
    (case,) = [case for case in CASES if case["raises"] is None]
    found = figures(answered(case["task"], **without_answer(case)))
    for name, figure in case["output"].items():
        assert found[name] == pytest.approx(figure, abs=1e-5), name


def without_answer(case):
    fields = dict(case["sample"])
    return {"answer": fields.pop("a"), **fields}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
WORDS = (
    *("0", "5", "12", "12.5", "12...", "1..5", "01:05", "1:02:03", "1e999", "9" * 50),
    *("-", "--", "to", "from", "at", ",", ".", ";", "!", "?", "\n", "*", ":", " ", "'", '"'),
    *("start", "end", "starts", "ends", "happens in", "seconds", "second(s)", "s"),
    *("start time: 1", "ending time: 5", "description: x walks", "start time 1, end time 5"),
    *("(A)", "(b)", "(E)", "(F)", "A", "b", "a", "best option:", "n't", "cannot", "[", "{", "<"),
    *("\N{ARABIC-INDIC DIGIT SEVEN}", "\N{FULLWIDTH DIGIT NINE}", "\N{SUPERSCRIPT TWO}"),
    *("\N{EN DASH}", "\N{CIRCLED LATIN SMALL LETTER B}", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
)
pieces = st.sampled_from(WORDS)
answer_like = st.lists(pieces | st.text(max_size=3), max_size=20).flatmap(
    lambda parts: st.sampled_from([" ".join(parts), "".join(parts)])
)


@settings(max_examples=150)
@given(answer=anything | answer_like, task=st.sampled_from(TASKS))
def test_no_answer_ends_the_scoring(answer, task):
    both = [made_up(task, answer), made_up(task, "", 1)]
    json.dumps(score(both, likeness()).document(), allow_nan=False)
    found = figures(*both)
    assert found["Total"] == 2
    assert 1 <= found["Failed"] <= 2
    for name, figure in found.items():
        if name not in ("Total", "Failed", "METEOR", "CIDEr", "SentSim"):
            assert 0 <= figure <= 1, name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("answer", [None, 12, 5.5, True, ["(B)"], {"a": "5 - 12"}], ids=str)
def test_an_answer_that_is_no_text_has_failed(task, answer):
    assert figures(made_up(task, answer))["Failed"] == 1


def test_digits_without_end_are_read_at_once():
    endless = "1" * 20_000
    for task in TASKS:
        score([made_up(task, endless)], likeness())
