"""DayExam: a long stream in, questions asked at its end about all ages of its past out.

Each group of AGES_S gets as many questions, so their ages are spread as on a logarithmic scale.
Within a group the kinds come in turn and none gets more than a quarter, as far as they have
evidence of that age: after a day, most answers about the last time rest on the last hour and most
about the first time on the first.
"""

import math
from collections import Counter
from collections.abc import Sequence
from random import Random

from eval.run.evidence_age import age_of
from eval.stream_benchmark.exam import ExamQuestion, ExamStream, parts
from eval.stream_benchmark.figures import RECALLED_KINDS
from eval.stream_world import KINDS, History, Question, Script, ask

AGES_S = {"<1min": 60.0, "1-10min": 600.0, "10-60min": 3600.0, "1-6h": 21600.0, "6-24h": math.inf}
"""Evidence is younger than so many seconds, and not as young as the group before."""
NUM_MOMENTS = 20
MOMENTS_APART_S = 30
NUM_TIMED = 26
_MOST_OF_A_KIND = 1 / 4
_TRIES, _TRIES_IN_TURN = 60, 20
"""For each question; those after the first ones take what there is of any kind."""


def asking_moments(length_s: int) -> list[int]:
    """When questions are asked: the last second, and some before it, all near the end."""
    apart_s = max(1, min(MOMENTS_APART_S, length_s // 2 // NUM_MOMENTS))
    return [length_s - 1 - i * apart_s for i in reversed(range(NUM_MOMENTS))]


def draw_day_exam(script: Script, num_questions: int) -> ExamStream:
    """Questions with evidence, in the order of asking; fewer where the stream has no more."""
    length_s = len(script.moments)
    rng, history = Random(f"{script.seed} day"), History.of(script)
    moments = asking_moments(length_s)
    ages = [age for i, age in enumerate(AGES_S) if not i or list(AGES_S.values())[i - 1] < length_s]
    left = dict(zip(ages, parts(num_questions, len(ages)), strict=True))
    most_of_a_kind = {age: math.ceil(_MOST_OF_A_KIND * num) for age, num in left.items()}
    num_of: Counter[tuple[str, str]] = Counter()
    drawn: dict[tuple[str, int], Question] = {}
    for attempt in range(_TRIES * num_questions):
        if not any(left.values()):
            break
        kind = RECALLED_KINDS[attempt % len(RECALLED_KINDS)]
        question = ask(kind, history.until(rng.choice(moments)), rng)
        if question is None or (question.text, question.asked_s) in drawn:
            continue
        age = age_of(question.evidence_age_s, AGES_S)
        if age is None or not left[age]:
            continue
        is_in_turn = attempt < _TRIES_IN_TURN * num_questions
        if is_in_turn and num_of[age, kind] >= most_of_a_kind[age]:
            continue
        left[age] -= 1
        num_of[age, kind] += 1
        drawn[question.text, question.asked_s] = question
    questions = sorted(drawn.values(), key=lambda question: question.asked_s)
    return ExamStream("day", script, "seen", tuple(ExamQuestion(q, "train") for q in questions))


def timed_questions(script: Script, at_s: int) -> Sequence[Question]:
    """Questions of all kinds asked at one moment, to measure how soon an answer begins."""
    rng, history = Random(f"{script.seed} {at_s}"), History.of(script).until(at_s)
    found = [ask(kind, history, rng) for _ in range(4) for kind in KINDS]
    return [question for question in found if question is not None][:NUM_TIMED]
