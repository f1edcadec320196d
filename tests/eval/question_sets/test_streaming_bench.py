"""StreamingBench's scores and table, against its published formulas worked out by hand."""

import pytest
from hand_made_sets import (
    OPTIONS,
    published,
    sb_choice,
    sb_entry,
    sb_files,
    sb_proactive,
    strict,
    write_streaming_bench,
)

from eval.question_sets.items import oddities
from eval.question_sets.streaming_bench import StreamingBench

BENCH = StreamingBench()
CHOICES = {
    # the truth is C: the published score, the strict one
    "C": (1, 1),
    "C. Blue.": (1, 1),
    "Cup": (1, 0),
    "CD": (1, 0),
    " C": (0, 1),
    "(C)": (0, 1),
    "The best option is C": (0, 1),
    "c": (0, 1),
    "B": (0, 0),
    "\uff23": (0, 0),
}
POLLS = {
    # asked at 20 s, true at 24 s, polled at 21 ... 28 s: in time, with text, strictly
    ("no", "no", "yes", "3"): (1, 1, 1),
    ("no", "yes", "The score is 3."): (1, 1, 1),
    ("yes", "3"): (0, 0, 0),
    ("no",) * 5 + ("Yes.", "3"): (1, 1, 1),
    ("no",) * 6 + ("yes", "3"): (0, 0, 0),
    ("no",) * 8: (0, 0, 0),
    ("no", "no", "yes", "4"): (1, 0, 0),
    ("no", "no", "yes", "23"): (1, 1, 0),
    ("no", "no", "yesterday 3", "3"): (1, 1, 0),
    ("no", "no", "no, yes", "3"): (1, 1, 0),
    ("no", "no", "yes", None): (1, 0, 0),
    ("no", "no", "yes 3"): (1, 1, 0),
    (None, "", "yes", "3"): (1, 1, 1),
    ("no", "no"): (0, 0, 0),
}


def items_of(tmp_path, tasks, **files):
    changed = {f"questions_{name}.json": document for name, document in files.items()}
    return BENCH.load(write_streaming_bench(tmp_path, {**sb_files(), **changed}), tasks)


def test_choices_of_all_kinds(tmp_path):
    [item] = items_of(tmp_path, ["OP"])
    found = {text: BENCH.score(item, (text,)) for text in CHOICES}
    assert {text: (o.published, o.strict) for text, o in found.items()} == CHOICES


@pytest.mark.parametrize(("task", "text"), [("OP", ""), ("OP", None), ("ER", ""), ("SQA", "")])
def test_an_empty_answer_is_left_out_of_sequences_alone(tmp_path, task, text):
    item = items_of(tmp_path, [task])[0]
    outcome = BENCH.score(item, (text,))
    assert (outcome.published, outcome.strict) == (None if task == "SQA" else 0, 0)
    assert outcome.oddity == "empty answer"


def test_options_without_letters_get_them_and_only_four_are_shown(tmp_path):
    many = sb_choice(options=["one", "two", "three", "four", "five"])
    [item] = items_of(tmp_path, ["OP"], real=[sb_entry(many)])
    assert BENCH.prompt(item).text.endswith(
        "Options:\nA. one\nB. two\nC. three\nD. four\n\nThe best option is:"
    )


def test_a_sequence_is_told_the_true_answers_to_what_was_asked_before(tmp_path):
    first, second = items_of(tmp_path, ["SQA"])
    assert first.context == ""
    assert second.context.endswith(
        "At timestamp 00:00:36, the following question and answer occurred: Question: "
        "What colour is the cup now?; Options: A. Red., B. Green., C. Blue., D. White.; Answer: C; "
    )
    assert OPTIONS[2] not in BENCH.prompt(first).text.split("Here is the question")[0]


@pytest.mark.parametrize("texts", POLLS)
def test_proactive_answers_of_all_kinds(tmp_path, texts):
    item = items_of(tmp_path, ["PO"])[0]
    outcome = BENCH.score(item, texts)
    assert (outcome.published, outcome.published_text, outcome.strict) == POLLS[texts]


def test_polling_ends_with_the_first_yes_and_the_question_itself(tmp_path):
    item = items_of(tmp_path, ["PO"])[0]
    assert "right time" in BENCH.prompt(item).text
    assert BENCH.follow_up(item, "no") is BENCH.follow_up(item, None) is None
    final = BENCH.follow_up(item, "well, YES")
    assert item.question in final.text
    assert "right time" not in final.text


def everything(items, wrong=()):
    """Right answers but for the ids in `wrong`."""
    said = {"PO": ("no", "no", "no", "yes", None)}
    outcomes = []
    for item in items:
        texts = said.get(item.task) or (item.answer,)
        if item.task == "PO":
            texts = (*texts[:-1], item.answer)
        if item.id in wrong:
            texts = ("no",) * 8 if item.task == "PO" else ("x",)
        outcomes.append(BENCH.score(item, texts))
    return outcomes


def test_all_and_overall_are_pooled_by_question_with_the_smaller_proactive_file(tmp_path):
    real = [sb_entry(sb_choice()), *sb_files()["questions_real.json"]]
    items = items_of(tmp_path, (), real=real)
    wrong = ("real-0-0", "real-2-0", "omni-4-0", "sqa-0-1", "proactive-1-0")
    rows = BENCH.aggregate(everything(items, wrong))
    table = published(rows)
    # 11 real questions, 4 omni, 2 + 2 + 1 contextual: the second proactive one is not in the table.
    assert (table["OP"], table["CR"], table["ACU"], table["SQA"]) == (50, 0, 0, 50)
    assert table["Real-Time Visual Understanding, All"] == pytest.approx(100 * 9 / 11, abs=1e-3)
    assert table["Omni-Source Understanding, All"] == 100
    assert table["Contextual Understanding, All"] == pytest.approx(100 * 3 / 5)
    assert table["Overall"] == pytest.approx(100 * 16 / 20)
    assert (table["PO"], table["PO, all 250"]) == (100, 50)
    assert strict(rows) == table


def test_pooled_rows_need_all_of_their_tasks(tmp_path):
    items = items_of(tmp_path, ["OP", "CR", "ER", "SCU", "SD", "MA"])
    table = published(BENCH.aggregate(everything(items)))
    assert table["Real-Time Visual Understanding, All"] is None
    assert table["Omni-Source Understanding, All"] == 100
    assert table["Overall"] is None


def test_what_was_not_asked_is_left_out_as_published(tmp_path):
    items = items_of(tmp_path, ["SQA"])
    outcomes = [BENCH.score(items[0], ("C",)), BENCH.score(items[1], ())]
    row = next(row for row in BENCH.aggregate(outcomes) if row.name == "SQA")
    assert (row.published.mean, row.published.num_questions) == (100, 1)
    assert (row.strict.mean, row.strict.num_questions) == (50, 2)
    assert oddities(outcomes) == {"not asked": 1}


def test_two_questions_at_one_second_poll_that_second_on(tmp_path):
    entries = [sb_entry(sb_proactive(true="00:00:20"), video="x_proactive")]
    [item] = items_of(tmp_path, ["PO"], proactive=entries, proactive_50=[])
    assert item.polls_s == (21, 22, 23, 24)
    assert BENCH.score(item, ("yes", "3")).published == 1
