"""`python -m eval.experiments.codecs` answers from the same blocks in one codec after another.

Blocks of made-up streams are kept exactly and found by their exact mean keys. What a question then
reads of them is rounded as a codec rounds it, so that answers differ by rounding alone. `error` is
that of what a question's words get of 40 evenly spread blocks, keys unrotated, relative to its
norm; `KL` that of the first token to the one from exact blocks. What is not in the product is made
by the one formula of `Share`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated, Protocol
from unittest.mock import patch

import torch
import typer
from torch import Tensor

from eval.experiments.answers import Blocks, Compared, Seen, Told, answers_of
from eval.result_table import ResultTable, show
from eval.speed.past import show_script
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam
from memory.block_head import IndexVectors
from memory.codecs.codec import CODECS, codec_named
from memory.kv_block import RowLayout
from vstream import Session, load_config, load_video_llm, open_session
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import TextStep

_SHOWN, _ASKING = 40, 8
_BIASED = 6
"""Channels of a head that a bias touches."""


class Rounding(Protocol):
    """Keys and values in, what comes back of them and the bytes of a block out."""

    def __call__(self, keys: Blocks, values: Blocks) -> tuple[Tensor, Tensor, float]: ...


@dataclass(frozen=True)
class Share:
    """Which integers share a scale and a zero in float16: `channels` of a token, or the tokens of
    `blocks` blocks in one channel.
    """

    bits: int
    channels: int = 0
    blocks: int = 1
    has_zero: bool = True

    def rounded(self, numbers: Blocks) -> Tensor:
        if self.channels:
            grouped, axis = numbers.unflatten(-1, (-1, self.channels)), -1
        else:
            grouped, axis = in_one(numbers, self.blocks), -2
        low, high = grouped.amin(axis, keepdim=True), grouped.amax(axis, keepdim=True)
        zero = ((low + high) / 2).half().float() if self.has_zero else torch.zeros_like(low)
        reach, levels = torch.maximum(high - zero, zero - low), 2**self.bits - 1
        scale = (reach * (2 / levels * (1 + 2**-10)) + 2**-24).half().float()
        back = (((grouped - zero) / scale + levels / 2).round() - levels / 2) * scale + zero
        return back.flatten(-2) if self.channels else apart(back, numbers)

    def bytes_of(self, layout: RowLayout) -> float:
        """Of keys or values of one block in one layer."""
        groups = layout.kv_heads * layout.head_dim / self.blocks
        if self.channels:
            groups = layout.numel / self.channels
        return layout.numel * self.bits / 8 + (4 if self.has_zero else 2) * groups


def in_one(numbers: Blocks, blocks: int) -> Tensor:
    """So many blocks as one, the last one repeated where some are missing."""
    missing = -numbers.shape[2] % blocks
    whole = torch.cat((numbers, *[numbers[:, :, -1:]] * missing), dim=2)
    return whole.view(*whole.shape[:2], -1, blocks * whole.shape[3], whole.shape[4])


def apart(merged: Tensor, like: Blocks) -> Tensor:
    """The blocks that were taken as one."""
    return merged.reshape(*like.shape[:2], -1, *like.shape[3:])[:, :, : like.shape[2]]


def product(name: str, blocks: int = 1) -> Rounding:
    """A codec of the product, of so many blocks taken as one."""

    def rounded(keys: Blocks, values: Blocks) -> tuple[Tensor, Tensor, float]:
        codec = codec_named(name)
        centre = _vectors(keys) if codec.is_small else torch.zeros(())
        old = [in_one(part, blocks) for part in (keys - centre, values)]
        layers, heads, count, tokens, dims = old[0].shape
        layout, new = RowLayout(heads, tokens, dims, keys.dtype), torch.empty(2, *old[0].shape)
        for at in range(count):
            rows = codec.encode(*(part[:, :, at].contiguous() for part in old))
            for layer, row in enumerate(rows):
                new[0, layer, :, at], new[1, layer, :, at] = codec.decode(
                    row[None], layout, torch.float32
                )
        num_bytes = layers * codec.row_bytes(layout) / blocks
        return apart(new[0], keys) + centre, apart(new[1], values), num_bytes

    return rounded


def shared(of_keys: Share, of_values: Share, is_centred: bool = False) -> Rounding:
    """Keys, less the block's index vector if they are centred, in one way, values in another."""

    def rounded(keys: Blocks, values: Blocks) -> tuple[Tensor, Tensor, float]:
        layers, heads, _, tokens, dims = keys.shape
        layout = RowLayout(heads, tokens, dims, keys.dtype)
        num_bytes = layers * (of_keys.bytes_of(layout) + of_values.bytes_of(layout))
        centre = _vectors(keys) if is_centred else torch.zeros(())
        return of_keys.rounded(keys - centre) + centre, of_values.rounded(values), num_bytes

    return rounded


def _vectors(keys: Blocks) -> Tensor:
    """The mean key of each block in int8, as a small block has it."""
    means = keys.mean(dim=3)
    small = [IndexVectors.small(one.flatten(1)[:, None].numpy()) for one in means.unbind(2)]
    exact = [torch.from_numpy(one.exact()).view_as(means[:, :, 0]) for one in small]
    return torch.stack(exact, dim=2)[:, :, :, None]


_TOKEN, _CHANNEL, _RECORD = Share(4, channels=32), Share(4), Share(4, blocks=16)
ROUNDINGS: dict[str, Rounding] = {
    **{name: product(name) for name in CODECS.names()},
    **{f"{name}, 16 blocks as one": product(name, 16) for name in ("int4", "fp4", "int2")},
    "int4, values by channel": shared(_CHANNEL, _CHANNEL),
    "int4, values by channel over 16 blocks": shared(_CHANNEL, _RECORD),
    "int4, both by channel over 16 blocks": shared(_RECORD, _RECORD),
    "int4, keys by channel over 16 blocks": shared(_RECORD, _TOKEN),
    "int4 keys, int8 values": shared(_CHANNEL, Share(8, channels=32)),
    "int8 keys, int4 values": shared(Share(8), _TOKEN),
    "int4 by token": shared(_TOKEN, _TOKEN),
    "int4 by token, centred": shared(_TOKEN, _TOKEN, is_centred=True),
    "int2, values by channel": shared(Share(2), Share(2)),
    "int2 keys, int4 values": shared(Share(2), _TOKEN),
}


class _Queries(TextStep):
    """Keeps what every word of the question asks for, before RoPE, with the attention's scale."""

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.queries.append(queries[:, self._is_question] * scale)
        return super(TextStep, self).attend(layer, queries, keys, values, scale)


@torch.inference_mode()
def question_queries(session: Session, text: str) -> list[Tensor]:
    """[heads, words, dims] of each layer."""
    decoder, family = session.model.decoder, session.model.family
    tokens = family.question(text)
    step = _Queries(decoder, prefix_kv(decoder, family.prefix()), tokens)

    def work() -> Work[None]:
        yield Pass(tokens.embeddings, step)

    alone(decoder, work())
    return step.queries


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """[heads, words, dims] from keys and values [kv_heads, blocks, tokens, dims]."""
    group = len(queries) // len(keys)
    keys, values = (part.flatten(1, 2).repeat_interleave(group, dim=0) for part in (keys, values))
    return torch.softmax(queries @ keys.mT, dim=-1) @ values


@dataclass
class Found:
    """What came of one rounding, over all streams."""

    num_bytes: float = 0
    errors: list[float] = field(default_factory=list)
    compared: Compared = field(default_factory=Compared)

    def cells(self) -> tuple[str, ...]:
        return f"{self.num_bytes:,.0f}", f"{fmean(self.errors):.4f}", *self.compared.cells()


class Trial:
    """One stream, its blocks exact, and its questions."""

    def __init__(self, session: Session, stream: ExamStream) -> None:
        self._session, self._stream = session, stream
        show_script(session, stream.script)
        seen = Seen.of(session)
        self.keys, self.values = seen.keys, seen.values
        few = stream.questions[:: max(1, len(stream.questions) // _ASKING)]
        self._queries = [question_queries(session, one.question.text) for one in few]
        self._exact = self._answers(self.keys, self.values)

    def take(self, rounding: Rounding, bias: float, found: Found) -> None:
        """Add what comes of a rounding to what was found."""
        offsets = _offsets(self.keys, bias)
        keys, values, found.num_bytes = rounding(self.keys + offsets, self.values)
        keys = keys - offsets
        found.errors.append(self._error(keys, values))
        found.compared.take(self._exact, self._answers(keys, values))

    def _error(self, keys: Blocks, values: Blocks) -> float:
        some = torch.linspace(0, keys.shape[2] - 1, _SHOWN).long()
        errors = []
        for queries in self._queries:
            for at, query in enumerate(queries):
                exact = (part[at][:, some] for part in (self.keys, self.values))
                wanted = attended(query, *exact)
                off = attended(query, keys[at][:, some], values[at][:, some]) - wanted
                errors.append(float(off.norm() / wanted.norm()))
        return fmean(errors)

    def _answers(self, keys: Blocks, values: Blocks) -> list[Told]:
        memory = self._session.memory

        def read(
            layer: int, block_ids: Sequence[int], dtype: torch.dtype, device: torch.device
        ) -> tuple[Tensor, Tensor]:
            ids = list(block_ids)
            some = (part[layer][:, ids].flatten(1, 2) for part in (keys, values))
            first, second = (part.to(device, dtype) for part in some)
            return first, second

        with patch.object(memory, "read", read):
            return answers_of(self._session, self._stream.questions)


def _offsets(keys: Blocks, size: float) -> Tensor:
    """The same of +- `size` for all tokens, in some channels of each head."""
    generator = torch.Generator().manual_seed(0)
    shape = (*keys.shape[:2], 1, 1, keys.shape[4])
    is_chosen = torch.rand(shape, generator=generator).argsort(dim=-1) < _BIASED
    sign = torch.randint(0, 2, shape, generator=generator) * 2 - 1
    return size * is_chosen * sign


def measure(
    seed: Annotated[int, typer.Option(min=0, help="Of the exam.")] = 777,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each stream.")] = 10,
    streams: Annotated[int, typer.Option(min=1)] = 2,
    questions: Annotated[int, typer.Option(min=2, help="Of all streams together.")] = 160,
    bias: Annotated[float, typer.Option(help="Of some key channels, as Qwen2 has.")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="Names; else all.")] = None,
) -> None:
    """What a codec costs, as error of the attention's output, as KL and in right answers."""
    torch.set_num_threads(1)
    config = load_config(memory={"codec": "exact"})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    exam = draw_exam(ExamOptions(seed, round(60 * minutes), streams, questions))
    found = {name: Found() for name in only or ROUNDINGS}
    for stream in exam[:streams]:
        with open_session(config, model, stream.name) as session:
            trial = Trial(session, stream)
            for name, so_far in found.items():
                trial.take(ROUNDINGS[name], bias, so_far)
    columns = ("codec", "bytes", "error", *Compared.COLUMNS)
    rows = tuple((name, *one.cells()) for name, one in found.items())
    show([ResultTable("Blocks of the configured model in one codec after another", columns, rows)])


if __name__ == "__main__":
    typer.run(measure)
