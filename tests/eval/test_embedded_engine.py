"""The embedded model behind the product's own engine, on streams that it has never seen.

It is asked drawn questions, and those that a person typed about the same streams.
"""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from encoders import Frame
from eval.stream_world import Renderer, draw_questions, score, write_script
from vstream import Question, load_config, load_video_llm, open_session

LENGTH_S = 150
QUESTIONS = 20
RECORDS = json.loads(
    (Path(__file__).parents[1] / "data" / "hand_written_questions.json").read_text("utf-8")
)
SEEDS = sorted({record["seed"] for record in RECORDS})
HONEST = "i cannot tell"


@pytest.fixture(scope="module")
def watched():
    """By seed, the script of a stream and a session that has watched it."""
    model, renderer = load_video_llm(None), Renderer()
    with ExitStack() as opened:
        found = {}
        for seed in SEEDS:
            script = write_script(seed, LENGTH_S)
            session = opened.enter_context(open_session(load_config(), model, f"world-{seed}"))
            session.push([Frame(renderer.frame(m), float(m.time_s), 0.0) for m in script.moments])
            found[seed] = script, session
        yield found


@pytest.fixture(scope="module")
def answers(watched):
    """(kind, is about the past, truth, given, asked_s) of every question."""
    found = []
    for seed, (script, session) in watched.items():
        for asked in draw_questions(script, QUESTIONS, Random(seed)):
            answer = session.ask(Question(asked.text, float(asked.asked_s))).answer
            found.append(
                (asked.kind, asked.is_about_past, asked.answer, answer.text, asked.asked_s)
            )
    return found


def share_right(answers, given=None):
    right = [
        score(truth, text if given is None else given[kind], asked_s).is_right
        for kind, _, truth, text, asked_s in answers
    ]
    return sum(right) / len(right)


def most_frequent(answers):
    """What an answerer would say that knows each kind's most frequent answer and sees nothing."""
    kinds = {kind for kind, *_ in answers}
    return {
        kind: Counter(truth for k, _, truth, *_ in answers if k == kind).most_common(1)[0][0]
        for kind in kinds
    }


def test_it_answers_far_better_than_without_seeing(answers):
    assert len(answers) > 80
    blind = share_right(answers, most_frequent(answers))
    assert share_right(answers) > blind + 0.2


def test_it_sees_the_present_and_remembers_the_past(answers):
    present = [answer for answer in answers if not answer[1]]
    past = [answer for answer in answers if answer[1]]
    assert share_right(present) > 0.7
    assert share_right(past) > 0.4


def test_questions_in_other_words_are_answered(watched):
    """Right, honest or wrong; unsure answers are honest."""
    told = []
    for record in RECORDS:
        asked_s, (_, session) = record["asked_s"], watched[record["seed"]]
        answer = session.ask(Question(record["question"], float(asked_s), plan=False)).answer
        is_right = any(score(truth, answer.text, asked_s).is_right for truth in record["accepted"])
        is_honest = answer.text == HONEST or answer.is_unsure
        told.append("right" if is_right else "honest" if is_honest else "wrong")
        print(f"{told[-1]:6} {record['question']!r}: {answer.text!r}, {record['accepted']}")  # noqa: T201
    assert len(told) == 40
    assert told.count("right") >= 24
    assert told.count("wrong") <= 6
