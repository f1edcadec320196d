"""A memory of captions alone: what it tells of, when, and that it knows no more."""

import pytest
from tiny_benchmark import TinyBenchmark

from encoders.sentence_encoder import SentenceEncoder
from eval.stream_benchmark.caption_memory import EVERY_S, READ, Caption, CaptionMemory


@pytest.fixture(scope="module")
def encoder():
    return SentenceEncoder()


def test_sentences_that_mean_the_same_are_alike(encoder):
    vectors = encoder.encode(["a red car", "a crimson automobile", "it rains on the lake"])
    assert (vectors**2).sum(axis=1) == pytest.approx(1, abs=1e-5)
    likeness = vectors @ vectors.T
    assert likeness[0, 1] > 0.5 > 0.3 > likeness[0, 2]


def test_the_captions_most_like_a_question_come_in_order_and_none_from_later(encoder):
    memory = CaptionMemory(encoder)
    for number in range(30):
        text = "a red car" if number in (3, 20, 28) else f"a dog and {number} apples"
        memory.add(Caption(number * 10 + 9, text))
    found = memory.most_like("when was the car there?", asked_s=250)
    assert len(found) == READ
    times = [caption.at_s for caption in found]
    assert times == sorted(times)
    assert {39, 209} <= set(times)
    assert max(times) <= 250
    assert memory.most_like("when was the car there?", asked_s=8) == []


def test_captions_are_a_policy_of_the_benchmark(tmp_path, encoder):
    run = TinyBenchmark(tmp_path, "captions").run()
    answers = run.answers("captions")
    assert len(answers) == sum(len(stream.questions) for stream in run.exam)
    assert run.reports()["captions"].figures
    with run.blocks.open(run.exam[0], run.policies[0]) as session:
        assert session.policy.retrieve_blocks() == 0
        memory = CaptionMemory(encoder)
        memory.tell(session, range(4 * EVERY_S))
    times = [caption.at_s for caption in memory.most_like("what?", 1000)]
    assert times == [9, 19, 29, 39]
    assert memory.num_bytes > 4 * 384 * 4
