"""Packing: the questions of a stream in, one row of tokens and who sees which frames out."""

from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import TokenizersBackend

from eval.stream_world import History, Question, Script

LEAST_RECENT = {"motion": 3, "recent": 8}
"""Frames without which a kind of question cannot be answered; for all others the last one."""


@dataclass(frozen=True, eq=False)
class PackedQuestions:
    """Questions and answers one behind the other; `offset` counts tokens within each."""

    questions: list[Question]
    text: Int[Tensor, " text"]
    owner: Int[Tensor, " text"]
    label: Int[Tensor, " text"]
    is_question: Bool[Tensor, " text"]
    offset: Int[Tensor, " text"]


def pack_questions(
    tokenizer: TokenizersBackend, questions: list[Question], text_tokens: int
) -> PackedQuestions:
    """As many of the questions as fit into `text_tokens` tokens, padded to that length."""
    text, offset = (torch.zeros(text_tokens, dtype=torch.long) for _ in range(2))
    owner, label = torch.full((text_tokens,), -1), torch.full((text_tokens,), -100)
    is_question = torch.zeros(text_tokens, dtype=torch.bool)
    packed: list[Question] = []
    start = 0
    for question in questions:
        asked = tokenizer(f"<|user|>{question.text}<|assistant|>", add_special_tokens=False)
        answer = tokenizer(f" {question.answer}<|end|>", add_special_tokens=False)
        ids = torch.tensor(asked.input_ids + answer.input_ids)
        middle, end = start + len(asked.input_ids), start + len(ids)
        if end > text_tokens:
            break
        text[start:end], owner[start:end] = ids, len(packed)
        label[middle - 1 : end - 1] = text[middle:end]
        is_question[start:middle] = True
        offset[start:end] = torch.arange(len(ids))
        packed.append(question)
        start = end
    return PackedQuestions(packed, text, owner, label, is_question, offset)


def relevant_runs(
    script: Script, question: Question, index_of: dict[int, int]
) -> list[tuple[int, int]]:
    """Runs of frames that bear on the answer: the evidence and all sightings of its objects."""
    runs = [(index_of[span.start_s], index_of[span.end_s]) for span in question.evidence]
    if question.is_about_past and question.kind != "after":
        history = History(script.moments[: index_of[question.asked_s] + 1])
        for name in question.names:
            runs += [(seen.first, seen.last) for seen in history.appearances(name)]
    return runs


def draw_visible(
    rng: Random, question: Question, runs: list[tuple[int, int]], asked: int, num_frames: int
) -> Bool[Tensor, " frames"]:
    """The frames that a question may attend to, never without both ends of a relevant run."""
    recent = max(LEAST_RECENT.get(question.kind, 1), rng.choice((1, 2, 4, 8, 16, 32)))
    share = 1.0 if rng.random() < 0.25 else rng.choice((0.0, 0.1, 0.3, 0.6, 0.9))
    visible = torch.tensor([rng.random() < share for _ in range(num_frames)])
    visible[max(0, asked - recent + 1) : asked + 1] = True
    inner_share = 1.0 if question.kind == "after" else rng.choice((0.3, 0.6, 1.0, 1.0))
    for first, last in runs:
        for index in range(first, last + 1):
            if index in (first, last) or rng.random() < inner_share:
                visible[index] = True
    visible[asked + 1 :] = False
    return visible
