"""Evaluation: samples with their answers in, the published and the strict score out."""

from collections.abc import Sequence
from dataclasses import dataclass

from eval.etbench.mend import PUBLISHED, STRICT
from eval.etbench.sample import Answered, Sample
from eval.etbench.scores import Scores, score
from eval.etbench.sentence_likeness import SentenceLikeness


@dataclass(frozen=True)
class Evaluation:
    """`strict` counts the unanswered samples as failed; `published` does not know of them."""

    published: Scores
    strict: Scores
    num_unanswered: int


def evaluate(
    answered: Sequence[Answered], unanswered: Sequence[Sample], likeness: SentenceLikeness
) -> Evaluation:
    """Both scores of the same answers."""
    everything = [*answered, *(Answered(sample, "") for sample in unanswered)]
    return Evaluation(
        score(answered, likeness, PUBLISHED),
        score(everything, likeness, STRICT),
        len(unanswered),
    )
