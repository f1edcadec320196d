"""answers_of: a session and an exam's questions in, what it says to them out.

`Seen` has the blocks that a session keeps as numbers, so that they can be changed. `Compared` puts
what two of them say side by side: KL and the best choice are those of the first token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from unittest.mock import patch

import torch
from jaxtyping import Float
from torch import Tensor

from eval.stream_benchmark.exam import ExamQuestion
from eval.stream_world import score
from memory import BlockInfo
from vstream import Question, Session
from vstream.decoding.token_choice import TokenChoice

Blocks = Float[Tensor, "layers heads blocks tokens dims"]
Told = tuple[bool, Float[Tensor, " vocabulary"]]
"""Whether an answer is right, and the log-probabilities of its first token."""


def answers_of(session: Session, questions: Sequence[ExamQuestion]) -> list[Told]:
    """Each asked at its moment."""
    said: list[Tensor] = []
    choose = TokenChoice.choose

    def noted(choice: TokenChoice, logits: Tensor) -> tuple[int, float]:
        said.append(logits.float().log_softmax(dim=0))
        return choose(choice, logits)

    told = []
    with patch.object(TokenChoice, "choose", noted):
        for one in questions:
            said.clear()
            asked = one.question
            answer = session.ask(Question(asked.text, asked.asked_s, plan=False)).answer
            is_right = score(asked.answer, answer.text, asked.asked_s).is_right
            told.append((is_right, said[0]))
    return told


@dataclass(frozen=True, eq=False)
class Seen:
    """Blocks of a stream, as the model made them."""

    infos: Sequence[BlockInfo]
    keys: Blocks
    values: Blocks

    @classmethod
    def of(cls, session: Session) -> "Seen":
        memory = session.memory
        ids, cpu = memory.visible(None), torch.device("cpu")
        infos = [memory.info(one) for one in ids]
        layers = range(memory.provenance.layers)
        both = [memory.read(layer, ids, torch.float32, cpu) for layer in layers]
        shape = (len(ids), infos[0].num_tokens)
        parts = (torch.stack(part).unflatten(2, shape) for part in zip(*both, strict=True))
        return cls(infos, *parts)


@dataclass
class Compared:
    """Of all questions so far."""

    divergences: list[float] = field(default_factory=list)
    are_right: list[bool] = field(default_factory=list)
    are_same: list[bool] = field(default_factory=list)

    def take(self, reference: Sequence[Told], found: Sequence[Told]) -> None:
        for (_, wanted), (is_right, got) in zip(reference, found, strict=True):
            self.divergences.append(float((wanted.exp() * (wanted - got)).sum()))
            self.are_right.append(is_right)
            self.are_same.append(bool(wanted.argmax() == got.argmax()))

    COLUMNS = ("KL, mean", "median", "same first token", "right")

    def cells(self) -> tuple[str, ...]:
        return (
            f"{fmean(self.divergences):.5f}",
            f"{median(self.divergences):.6f}",
            f"{sum(self.are_same)} of {len(self.are_same)}",
            f"{sum(self.are_right)} of {len(self.are_right)}",
        )
