"""`python -m eval.experiments.moments` answers from old blocks that one rule or another has cut.

Streams are watched once and kept whole and exact. What a question about the past then reads of a
block that had left the windows by its moment is what a rule makes of it, rounded by nothing but for
the codec that a rule names, so that rules alone differ. Rules that know what is asked know it from
the words of other questions about other streams (`_bank`), at one middle distance. `truth` is by
how much less probable the true answer is than with whole blocks, in nats; `KL` that of the first
token.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated
from unittest.mock import patch

import torch
import typer
from jaxtyping import Float
from torch import Tensor

from eval.experiments.codecs import question_queries
from eval.experiments.moment_rules import RULES, Cut, Played, Rule
from eval.result_table import ResultTable, show
from eval.speed.past import show_script
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam
from eval.stream_world import Question as Drawn
from eval.stream_world import score
from eval.stream_world.past import PAST
from memory.aging_memory import REWRITE_BLOCKS
from memory.kv_block import BlockInfo
from vstream import Question, Session, load_config, load_video_llm, open_session
from vstream.decoding.token_choice import TokenChoice
from vstream.engine.answer_context import AnswerContext

_BANK_SEED, _BANK_QUESTIONS = 9, 28
_DISTANCE = 240
"""Tokens between a block and the question that a rule fits it for: 20 blocks."""


@dataclass
class Found:
    """What came of one rule, over all streams."""

    tokens: list[float] = field(default_factory=list)
    num_bytes: list[float] = field(default_factory=list)
    divergences: list[float] = field(default_factory=list)
    lost: list[float] = field(default_factory=list)
    are_right: list[bool] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        error = torch.tensor(self.lost).std() / len(self.lost) ** 0.5
        return (
            f"{fmean(self.tokens):.2f}",
            f"{fmean(self.num_bytes):,.0f}",
            f"{fmean(self.divergences):.3f}",
            f"{fmean(self.lost):+.2f} ± {error:.2f}",
            f"{sum(self.are_right)} of {len(self.are_right)}",
        )


Said = tuple[Float[Tensor, "answer vocabulary"], bool]


class Trial:
    """One stream and its questions about the past."""

    def __init__(self, session: Session, stream: ExamStream, bank: Tensor) -> None:
        show_script(session, stream.script)
        memory, cpu = session.memory, torch.device("cpu")
        ids, layers = memory.visible(None), range(memory.provenance.layers)
        size = memory.info(0).num_tokens
        both = [memory.read(layer, ids, torch.float32, cpu) for layer in layers]
        keys, values = (
            torch.stack(part).unflatten(2, (len(ids), size)).permute(2, 0, 1, 3, 4)
            for part in zip(*both, strict=True)
        )
        self._played = Played(session, [memory.info(i) for i in ids], keys, values, bank)
        self._questions = [one.question for one in stream.questions if one.question.kind in PAST]
        self._whole = [self._said(one) for one in self._questions]

    def take(self, rule: Rule, found: Found) -> None:
        """Add what comes of a rule to what was found."""
        made, count = rule(self._played), len(self._played.infos)
        found.tokens.append(sum(one.info.num_tokens for one in made.values()) / count)
        found.num_bytes.append(sum(one.num_bytes for one in made.values()) / count)
        for question, (wanted, _) in zip(self._questions, self._whole, strict=True):
            with ExitStack() as patched:
                _Cuts(self._played, made, question.asked_s).enter(patched)
                got, is_right = self._said(question)
            first = wanted[0].exp() * (wanted[0] - got[0])
            found.divergences.append(float(first.sum()))
            true = torch.tensor(self._ids(question))[:, None]
            found.lost.append(float((wanted - got).gather(1, true).sum()))
            found.are_right.append(is_right)

    def _said(self, question: Drawn) -> Said:
        """The log-probabilities of tokens of the true answer, and whether it is said."""
        session, ids = self._played.session, self._ids(question)
        asked_s, logs = question.asked_s, []

        def forced(_: TokenChoice, logits: Tensor) -> tuple[int, float]:
            logs.append(logits.float().log_softmax(dim=0))
            return ids[len(logs) - 1], 1.0

        with patch.object(TokenChoice, "choose", forced):
            assert session.ask(Question(question.text, asked_s)).answer is not None
        answer = session.ask(Question(question.text, asked_s)).answer
        return torch.stack(logs), score(question.answer, answer.text, asked_s).is_right

    def _ids(self, question: Drawn) -> list[int]:
        family = self._played.session.model.family
        ids: list[int] = family.chat._tokenizer.encode(
            f" {question.answer}", add_special_tokens=False
        )
        return [*ids, min(family.stop_ids)]


class _Cuts:
    """What a question reads: cut blocks where they had been cut by its moment, else whole ones."""

    def __init__(self, played: Played, made: dict[int, Cut], at_s: float) -> None:
        self._played, self._made = played, made
        self._ends = [one.end_s for one in played.infos]
        seen = bisect_right(self._ends, at_s)
        written = (seen - 1) // REWRITE_BLOCKS * REWRITE_BLOCKS
        needed = played.session.policy.needed_blocks()
        self._below = (written - needed) // REWRITE_BLOCKS * REWRITE_BLOCKS
        self._ids = [i for i in range(len(self._ends)) if i >= self._below or i in made]
        self._bias: list[Tensor | None] = []

    def enter(self, patched: ExitStack) -> None:
        memory = self._played.session.memory
        for name in ("read", "info", "search", "visible"):
            patched.enter_context(patch.object(memory, name, getattr(self, name)))
        lay, cuts = AnswerContext.lay, self

        def laid(
            context: AnswerContext, layer: int, ids: Sequence[int], recent: Sequence[int] = ()
        ) -> None:
            lay(context, layer, ids, recent)
            cuts._bias = [*cuts._bias[:layer], cuts._bias_of(layer, [*ids, *recent])]

        def look(
            context: AnswerContext, layer: int, queries: Tensor, rotated: Tensor, scale: float
        ) -> Tensor:
            decoder, one, bias = context._decoder, context.laid(layer), cuts._bias[layer]
            if bias is None:
                return decoder.attend_causally(rotated, one.keys, one.values, scale)
            return _biased(rotated, one.keys, one.values, scale, bias, one.num_prefix)

        patched.enter_context(patch.object(AnswerContext, "lay", laid))
        patched.enter_context(patch.object(AnswerContext, "look", look))

    def read(
        self, layer: int, ids: Sequence[int], dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        some = [self._at(i) for i in ids]
        keys, values = (
            torch.cat([getattr(one, name)[layer] for one in some], dim=1)
            for name in ("keys", "values")
        )
        return keys.to(device, dtype), values.to(device, dtype)

    def info(self, block_id: int) -> BlockInfo:
        return self._at(block_id).info

    def visible(self, at_s: float | None, from_s: float | None = None) -> list[int]:
        end = len(self._ends) if at_s is None else bisect_right(self._ends, at_s)
        first = 0 if from_s is None else bisect_left(self._ends, from_s)
        return [i for i in self._ids if first <= i < end]

    def search(
        self,
        layers: Sequence[int],
        queries: Tensor,
        below: int,
        top_k: int,
        first: int,
        **_: object,
    ) -> list[int]:
        ids = [i for i in self._ids if first <= i < below]
        if len(ids) <= top_k:
            return ids
        found_by = torch.stack([self._at(i).found_by[layers[0]] for i in ids])
        best = (found_by @ queries[0].float()).topk(top_k).indices.tolist()
        return sorted(ids[at] for at in best)

    def _at(self, block_id: int) -> Cut:
        if block_id < self._below:
            return self._made[block_id]
        keys, values = self._played.keys[block_id], self._played.values[block_id]
        means = keys.mean(dim=2).flatten(1)
        return Cut(keys, values, self._played.infos[block_id], means)

    def _bias_of(self, layer: int, ids: Sequence[int]) -> Tensor | None:
        some = [self._at(i) for i in ids]
        if all(one.bias is None for one in some):
            return None
        heads = self._played.keys.shape[2]
        parts = [
            torch.zeros(heads, 1, one.info.num_tokens) if one.bias is None else one.bias[layer]
            for one in some
        ]
        return torch.cat(parts, dim=-1)


def _biased(
    queries: Tensor, keys: Tensor, values: Tensor, scale: float, bias: Tensor, start: int
) -> Tensor:
    """Causal attention with a bias, [kv_heads, 1, tokens], for keys from `start` on."""
    group, (words, count) = len(queries) // len(keys), (queries.shape[1], keys.shape[1])
    mask = torch.full((words, count), -torch.inf).triu(count - words + 1).repeat(len(keys), 1, 1)
    mask[..., start : start + bias.shape[-1]] += bias
    keys, values, mask = (one.repeat_interleave(group, dim=0) for one in (keys, values, mask))
    return torch.softmax(scale * queries @ keys.mT + mask, dim=-1) @ values


def _bank(session: Session) -> Tensor:
    """The queries of some questions about other streams, by key head."""
    [stream, *_] = draw_exam(ExamOptions(_BANK_SEED, 120, 1, 2 * _BANK_QUESTIONS))
    texts = [one.question.text for one in stream.questions if one.question.kind in PAST]
    found = [question_queries(session, text) for text in texts[:_BANK_QUESTIONS]]
    rope, kv_heads = session.model.decoder.rope.on_host(), session.memory.provenance.kv_heads
    layers = []
    for by_question in zip(*found, strict=True):
        words = torch.cat(by_question, dim=1)
        there = torch.full((1, words.shape[1]), _DISTANCE)
        layers.append(rope.rotate(words, there).unflatten(0, (kv_heads, -1)).flatten(1, 2))
    return torch.stack(layers)


def measure(
    seed: Annotated[int, typer.Option(min=0, help="Of the exam.")] = 303,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each stream.")] = 10,
    streams: Annotated[int, typer.Option(min=1)] = 1,
    questions: Annotated[int, typer.Option(min=2, help="Of all streams together.")] = 120,
    only: Annotated[list[str] | None, typer.Option(help="Names; else all.")] = None,
) -> None:
    """What of an old block should stay, by what is lost without the rest."""
    torch.set_num_threads(1)
    config = load_config(memory={"codec": "exact"})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    found = {name: Found() for name in only or RULES}
    for stream in draw_exam(ExamOptions(seed, round(60 * minutes), streams, questions))[:streams]:
        with open_session(config, model, stream.name) as session:
            trial = Trial(session, stream, _bank(session))
            for name, so_far in found.items():
                trial.take(RULES[name], so_far)
    columns = ("what stays", "tokens a block", "bytes a block", "KL", "truth", "right")
    rows = tuple((name, *one.cells()) for name, one in found.items())
    show(
        [
            ResultTable(
                "Old blocks of the configured model, cut by one rule or another", columns, rows
            )
        ]
    )


if __name__ == "__main__":
    typer.run(measure)
