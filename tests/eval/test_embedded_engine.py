"""The embedded model behind the product's own engine, on streams that it has never seen."""

from collections import Counter
from random import Random

import pytest

from encoders import Frame
from eval.stream_world import Renderer, draw_questions, score, write_script
from vstream import Question, load_config, load_video_llm, open_session

SEEDS = (880_001, 880_002, 880_003, 880_004)
LENGTH_S = 120
QUESTIONS = 24


@pytest.fixture(scope="module")
def answers():
    """(kind, is about the past, truth, given, asked_s) of every question."""
    model, renderer, found = load_video_llm(None), Renderer(), []
    for seed in SEEDS:
        script = write_script(seed, LENGTH_S)
        with open_session(load_config(), model, "world") as session:
            session.push([Frame(renderer.frame(m), float(m.time_s), 0.0) for m in script.moments])
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
