"""Timed questions: true of every frame, as many as wanted, scored at their tolerances."""

import json
import re
from collections import Counter, defaultdict
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.run.scored import AGES_S, age_of
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam, majority_texts
from eval.stream_benchmark.record import record_of
from eval.stream_benchmark.time_figures import time_document, time_table
from eval.stream_world import (
    KINDS,
    Question,
    Script,
    Statement,
    score_question,
    truth_spans,
    word_question,
    write_script,
)
from eval.stream_world.history import Period
from eval.stream_world.statement import FORMS
from eval.stream_world.timed import CLEAR_S, NEVER_SO, TIMED, TIMES, draw_timed
from eval.stream_world.vocabulary import clock

HOUR = ExamOptions(seed=9, length_s=3600, num_streams=2, num_questions=160, topic="time")
AGES = [range(60), range(60, 200)]


def kind_of(question: Question) -> str:
    return NEVER_SO if question.is_never_so else question.kind


@pytest.fixture(scope="module")
def exam() -> list[ExamStream]:
    return draw_exam(HOUR)


@pytest.fixture(scope="module")
def asked(exam: list[ExamStream]) -> list[Question]:
    """In ordinary wordings."""
    return [q.question for stream in exam for q in stream.questions if q.wording == "train"]


def test_an_ordinary_exam_asks_what_it_did_before_there_were_timed_questions() -> None:
    drawn = [stream.questions for stream in draw_exam(ExamOptions(7, 600, 2, 200))]
    assert sha256(repr(drawn).encode()).hexdigest()[:16] == "c9584bf0a723118b"


def test_the_same_seed_asks_the_same_and_another_seed_others(exam: list[ExamStream]) -> None:
    small = [ExamOptions(seed, 200, 1, 6, topic="time") for seed in (1, 1, 2)]
    first, again, other = (draw_exam(options)[0].questions for options in small)
    assert first == again != other


def true_answer(script: Script, question: Question) -> str:
    """By going through the frames once more, one by one."""
    moments = script.moments[: question.asked_s + 1]
    held = [[m.time_s for m in moments if one.holds(m)] for one in question.statements]
    seconds = held[0]
    begins = [s for s in seconds if s - 1 not in set(seconds)]
    match question.kind:
        case "when_first":
            return f"at {clock(seconds[0])}" if seconds else "not seen"
        case "when_last" if seconds and seconds[-1] == question.asked_s:
            return "right now"
        case "when_last":
            return f"at {clock(seconds[-1])}" if seconds else "not seen"
        case "count_times":
            return str(len(begins))
        case "how_long" if seconds:
            return f"{len(seconds)} second{'s' if len(seconds) > 1 else ''}"
        case "how_long":
            return "not seen"
        case "order":
            first = min(question.statements, key=lambda one: held[question.statements.index(one)])
            assert held[0][0] != held[1][0]
            return f"the {first.words}"
    return "yes" if set(held[0]) & set(held[1]) else "no"


@given(st.integers(0, 500))
@settings(max_examples=10)
def test_answers_are_true_of_every_frame_and_nothing_asked_about_is_in_doubt(seed: int) -> None:
    script = write_script(seed, 200)
    drawn = draw_timed(script, dict.fromkeys((*TIMED, NEVER_SO), 8), AGES, Random(seed))
    for question in drawn:
        assert question.answer == true_answer(script, question), question
        moments = script.moments[: question.asked_s + 1]
        assert not any(one.is_doubtful(m) for one in question.statements for m in moments)
        spans = [truth_spans(script, one, question.asked_s) for one in question.statements]
        assert question.is_never_so == (not spans[0]) == (not question.evidence)
        shown = {m.time_s for m in moments for one in question.statements if one.holds(m)}
        for period in question.evidence:
            assert {*range(period.start_s, period.end_s + 1)} <= shown
        if question.kind == "while":
            near = [(a, b) for a in spans[0] for b in spans[1]]
            lasts = [min(a.end_s, b.end_s) - max(a.start_s, b.start_s) + 1 for a, b in near]
            assert max(lasts) >= CLEAR_S if question.answer == "yes" else max(lasts) <= -CLEAR_S


def test_every_quota_is_met_in_both_wordings(exam: list[ExamStream]) -> None:
    for wording, num in (("train", 160), ("held_out", 32)):
        found = Counter(
            kind_of(one.question) for s in exam for one in s.questions if one.wording == wording
        )
        assert found == dict.fromkeys((*TIMED, NEVER_SO), num)


def test_no_question_is_put_twice_and_none_at_the_start(asked: list[Question]) -> None:
    assert min(question.asked_s for question in asked) >= 30
    assert len({(q.kind, q.asked_s, q.statements, q.evidence) for q in asked}) == len(asked)


@pytest.mark.parametrize("kind", TIMED)
def test_each_kind_is_asked_about_all_ages_forms_and_numbers(
    kind: str, exam: list[ExamStream]
) -> None:
    mine = [
        (stream.script, one.question)
        for stream in exam
        for one in stream.questions
        if kind_of(one.question) == kind
    ]
    ages = Counter(age_of(question.evidence_age_s) for _, question in mine)
    assert set(ages) == {"<1min", "1-10min", "10-60min"}
    assert min(ages.values()) >= 0.15 * len(mine)
    assert {one.form for _, question in mine for one in question.statements} == set(FORMS)
    if kind == "order":
        return
    times = Counter(len(truth_spans(s, q.statements[-1], q.asked_s)) for s, q in mine)
    assert all(sum(times[num] for num in several) >= 0.15 * len(mine) for several in TIMES)
    assert max(times) <= 20


def test_what_never_was_so_is_asked_in_four_kinds_and_all_forms(asked: list[Question]) -> None:
    never = [question for question in asked if question.is_never_so]
    kinds = Counter(question.kind for question in never)
    forms = Counter(question.statements[0].form for question in never)
    assert set(kinds) == {"when_first", "when_last", "count_times", "how_long"}
    assert set(forms) == set(FORMS)
    assert min(kinds.values()) >= len(never) // 5
    assert min(forms.values()) >= len(never) // 5
    assert {question.evidence_age_s for question in never} == {None}


def test_a_question_has_the_form_of_what_it_names_beyond_an_object() -> None:
    owl, red = Statement("owl"), Statement("star", color="red")
    forms = {(owl,): "object", (owl, red): "color", (red, owl): "color", (): ""}
    for statements, form in forms.items():
        assert Question("order", "", "", 1, (), (), statements=statements).form == form


def test_yes_and_no_are_as_many(asked: list[Question]) -> None:
    answers = Counter(question.answer for question in asked if question.kind == "while")
    assert set(answers) == {"yes", "no"}
    assert 0.4 < answers["yes"] / answers.total() < 0.6


def test_a_family_with_longer_blocks_is_asked_when_one_has_just_ended() -> None:
    options = ExamOptions(3, 300, 1, 6, frames_per_block=4, topic="time")
    (stream,) = draw_exam(options)
    assert {one.question.asked_s % 4 for one in stream.questions} == {3}
    assert stream.questions[0].question.asked_s >= 27


def test_an_empty_stream_is_asked_little() -> None:
    script = write_script(1, 40).retimed(range(40))
    bare = Script(1, tuple(m.__class__(m.time_s, m.backdrop, ()) for m in script.moments), (), ())
    assert draw_timed(bare, {"when_first": 3}, AGES, Random(1)) == []


def opposite(question: Question) -> str:
    """What one says who is always wrong."""
    other = {"yes": "no", "no": "yes", "not seen": "at 0h00m01s", "0": "1"}
    if question.answer in other:
        return "3 seconds" if question.kind == "how_long" else other[question.answer]
    match question.kind:
        case "count_times":
            return str(int(question.answer) + 1)
        case "how_long":
            return f"{int(question.answer.split()[0]) * 2 + 4} seconds"
        case "order":
            (late,) = (s for s in question.statements if f"the {s.words}" != question.answer)
            return f"the {late.words}"
    return "not seen"


@pytest.mark.parametrize(("answers", "percent"), [("true", 100), ("opposite", 0), ("none", 0)])
def test_who_says_the_truth_has_all_right_and_who_says_the_opposite_nothing(
    answers: str, percent: int, exam: list[ExamStream]
) -> None:
    says = {"true": lambda q: q.answer, "opposite": opposite, "none": lambda q: None}[answers]
    records = [
        record_of("default", stream, number, says(drawn.question), {})
        for stream in exam
        for number, drawn in enumerate(stream.questions)
    ]
    found = json.loads(json.dumps(time_document(records)))
    assert set(found) == {
        *("times", "times within 2 s", *TIMED, "never so", "held-out wording"),
    }
    for row, by_age in found.items():
        assert by_age["all"]["percent"] == percent, row
        assert by_age["all"]["interval"] == [percent, percent]
        assert list(by_age) == ["all", *AGES_S, *FORMS]
        num = {part: one["questions"] for part, one in by_age.items() if one}
        never = {"never so": 160, "held-out wording": 32}.get(row, 0)
        assert num["all"] == sum(num.get(age, 0) for age in AGES_S) + never
        assert num["all"] == sum(num[form] for form in FORMS)
    assert found["times"]["all"]["questions"] == 320
    assert found["how_long"]["all"]["questions"] == 160
    table = time_table({"default": records})
    assert table.columns == ("contender: kind", "all", "<1min", "1-10min", "10-60min", *FORMS)
    assert f"{percent}.0 [{percent}.0, {percent}.0] of 320" in table.rows[0]


def question(kind: str, answer: str, asked_s: int = 700, evidence: bool = True) -> Question:
    statements = (Statement("star", color="red"), Statement("owl"))[: 2 if kind == "order" else 1]
    periods = (Period(0, 0),) if evidence else ()
    return Question(kind, "", answer, asked_s, periods, (), statements=statements)


@pytest.mark.parametrize(
    ("kind", "truth", "given", "is_right"),
    [
        ("when_first", "at 0h10m00s", "at 0h10m05s", True),  # a twentieth of 100 s
        ("when_first", "at 0h10m00s", "at 0h10m06s", False),
        ("when_last", "at 0h11m20s", "It was last there at 0h11m23s.", True),  # 3 s
        ("when_last", "at 0h11m20s", "at 0h11m24s", False),
        ("when_last", "at 0h11m20s", "at 0h11m20s or at 0h11m40s", False),
        ("when_last", "at 0h11m38s", "right now", True),
        ("when_last", "right now", "It is there now.", True),
        ("when_last", "right now", "not seen", False),
        ("count_times", "12", "12 times", True),
        ("count_times", "12", "Twelve.", True),
        ("count_times", "2", "twice", True),
        ("count_times", "12", "11", False),
        ("count_times", "12", "11 or 12", False),
        ("how_long", "30 seconds", "33 seconds", True),  # 3 s
        ("how_long", "30 seconds", "34 seconds", False),
        ("how_long", "30 seconds", "26.9 seconds", False),
        ("how_long", "85 seconds", "1 minute and 33 s", True),  # a tenth
        ("how_long", "85 seconds", "1m34s", False),
        ("how_long", "85 seconds", "0h01m25s", True),
        ("how_long", "85 seconds", "1:25", True),
        ("how_long", "85 seconds", "85", True),
        ("how_long", "85 seconds", "about 85 seconds in 3 visits", True),
        ("how_long", "85 seconds", "85 seconds or 20 seconds", False),
        ("how_long", "5400 seconds", "1.5 hours", True),
        ("order", "the red star", "The red star.", True),
        ("order", "the red star", "the star", True),
        ("order", "the red star", "the owl", False),
        ("order", "the red star", "the star or the owl", False),
        ("order", "the red star", "the starfish", False),
        ("while", "yes", "Yes, it was.", True),
        ("while", "yes", "no", False),
        ("while", "no", "yes and no", False),
    ],
)
def test_an_answer_is_right_within_its_tolerance(
    kind: str, truth: str, given: str, is_right: bool
) -> None:
    assert score_question(question(kind, truth), given).is_right == is_right


@pytest.mark.parametrize("kind", ["when_first", "when_last", "count_times", "how_long"])
def test_what_never_was_so_has_to_be_denied(kind: str) -> None:
    never = question(kind, "0" if kind == "count_times" else "not seen", evidence=False)
    for said in ("not seen", "Never.", "it was not there", "no", never.answer):
        assert score_question(never, said).is_right, said
    for said in ("at 0h00m09s", "1", "3 seconds", "", "not sure", "not before 0h00m10s", "a star"):
        assert not score_question(never, said).is_right, said
    is_number = kind in ("count_times", "how_long")
    assert score_question(never, "0").is_right == is_number
    assert score_question(question(kind, "9"), "not seen").is_right is False


@given(st.integers(1, 4000), st.integers(0, 4000))
def test_a_duration_is_right_exactly_within_its_tolerance(true_s: int, given_s: int) -> None:
    found = score_question(question("how_long", f"{true_s} seconds"), f"{given_s} s")
    assert found.is_right == (abs(given_s - true_s) <= max(3, true_s / 10))


def test_there_are_many_wordings_of_new_kinds_and_those_held_out_are_others() -> None:
    owner: dict[str, str] = {}
    for kind in (*TIMED, "exist", "watch", "seen_yet"):
        said = defaultdict(set)
        for split, num in (("train", 3000), ("held_out", 200)):
            rng = Random(split)
            for _ in range(num):
                text = word_question(kind, rng, split, name="owl", other="red star")
                said[split].add(" ".join(re.findall(r"[\w']+", text)))
                assert not re.search(r"[{}<>()\[\]|~]|\s\s|\s[?.,!:]|^\s|\s$", text), text
                assert "owl" in text
                assert ("red star" in text) == (kind in ("order", "while")), text
        assert len(said["train"]) > 1000, kind
        assert len(said["held_out"]) >= 5
        assert not said["train"] & said["held_out"]
        for text in said["train"] | said["held_out"]:
            assert owner.setdefault(text, kind) == kind, text
    assert not {"how_long", "while"} & set(KINDS), "no training run draws them"


def test_the_majority_answer_is_given_by_kind() -> None:
    texts = majority_texts(ExamOptions(1, 150, 1, 10, topic="time"))
    assert set(texts) == set(TIMED)
    assert texts["while"] in ("yes", "no")
    assert texts["count_times"].isdigit()
