"""Rules: the whole blocks of a stream in, what stays of them out.

Rules that know what is asked know it from the words of other questions about other streams.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from memory.aging_memory import REWRITE_BLOCKS
from memory.codecs.codec import block_of, record_of
from memory.kv_block import BlockInfo, KVBlock
from vstream import Session

_RIDGE = 1e-2


@dataclass(frozen=True, eq=False)
class Played:
    """All blocks of a stream."""

    session: Session
    infos: Sequence[BlockInfo]
    keys: Float[Tensor, "blocks layers heads tokens dims"]
    values: Float[Tensor, "blocks layers heads tokens dims"]
    bank: Float[Tensor, "layers heads words dims"]
    """What words ask each key head for, rotated to where they stand and scaled."""

    @property
    def means(self) -> Float[Tensor, "blocks layers features"]:
        return self.keys.mean(dim=3).flatten(2)

    def rotated(self, keys: Tensor, positions: Tensor) -> Tensor:
        """Keys [..., dims] turned by positions [...]."""
        rope = self.session.model.decoder.rope.on_host()
        turned = rope.rotate(keys.reshape(1, -1, keys.shape[-1]), positions.reshape(1, -1))
        return turned.view_as(keys)

    def attention(self, at: int) -> Float[Tensor, "layers heads words tokens"]:
        """The logits of the bank's words for the tokens of a block."""
        keys, places = self.keys[at], self.infos[at].positions[0]
        return self.bank @ self.rotated(keys, places.expand(keys.shape[:3])).transpose(-1, -2)


@dataclass(frozen=True, eq=False)
class Cut:
    """What stays of a block. `bias` is added to the logits of its tokens."""

    keys: Float[Tensor, "layers heads kept dims"]
    values: Float[Tensor, "layers heads kept dims"]
    info: BlockInfo
    found_by: Float[Tensor, "layers features"]
    bias: Float[Tensor, "layers heads 1 kept"] | None = None
    num_bytes: int = 0
    """Where it went through a codec."""


Rule = Callable[[Played], dict[int, Cut]]
Scores = Callable[[Played, int], Float[Tensor, "layers heads tokens"]]


def cut(played: Played, at: int, scores: Tensor, num_kept: int) -> tuple[Cut, Tensor]:
    """The tokens of largest score in each head, as `moments` keeps them, and which they are."""
    best = scores.sort(dim=-1, descending=True, stable=True).indices[..., :num_kept]
    best = best.sort(dim=-1).values
    keys, values = (
        torch.take_along_dim(part[at], best[..., None], dim=2)
        for part in (played.keys, played.values)
    )
    info = played.infos[at]
    stood = info.positions[0, best]
    placed = stood.double().mean(dim=(0, 1)).round().long()
    keys = played.rotated(keys, stood - placed)
    info = replace(info, positions=placed[None])
    return Cut(keys, values, info, played.means[at]), best


def norm(played: Played, at: int) -> Tensor:
    """Of the value."""
    norms: Tensor = played.values[at].norm(dim=-1)
    return norms


def asked(played: Played, at: int) -> Tensor:
    """The attention that the bank pays."""
    return played.attention(at).softmax(dim=-1).mean(dim=2)


def asked_norm(played: Played, at: int) -> Tensor:
    """What the attention that the bank pays adds to the output."""
    return asked(played, at) * norm(played, at)


def surprise(played: Played, at: int) -> Tensor:
    """The norm of the value, more where it is unlike the one before at the same place."""
    before = played.values[max(0, at - 1)]
    like = torch.cosine_similarity(played.values[at], before, dim=-1)
    return norm(played, at) * (2 - like)


def every(scores: Scores, num_kept: int) -> Rule:
    """So many tokens of every block."""
    return lambda played: {
        at: cut(played, at, scores(played, at), num_kept)[0] for at in range(len(played.infos))
    }


def _runs(played: Played, alike: float) -> Iterator[list[int]]:
    """Alike neighbours, looked for where blocks are rewritten together."""
    means = played.means.transpose(0, 1)
    for start in range(0, len(played.infos), REWRITE_BLOCKS):
        group = means[:, start : start + REWRITE_BLOCKS]
        unit = torch.nn.functional.normalize(group, dim=-1)
        like = (unit[:, 1:] * unit[:, :-1]).sum(dim=-1).mean(dim=0).tolist()
        run = [start]
        for at, next_like in enumerate(like, start=start + 1):
            if next_like < alike:
                yield run
                run = []
            run.append(at)
        yield run


def uneven(num_ends: int, num_inside: int, alike: float = 0.9) -> Rule:
    """More tokens of the first and the last block of a run; 0: those inside go."""

    def rule(played: Played) -> dict[int, Cut]:
        made = {}
        for run in _runs(played, alike):
            for at in run:
                num = num_ends if at in (run[0], run[-1]) else num_inside
                if num:
                    made[at] = cut(played, at, norm(played, at), num)[0]
        return made

    return rule


def merged(num_kept: int, alike: float = 0.9) -> Rule:
    """One block of a run, whose tokens compete, found by the mean of all its keys."""

    def rule(played: Played) -> dict[int, Cut]:
        made = {}
        for run in _runs(played, alike):
            span, size = [played.keys[run], played.values[run]], played.keys.shape[3]
            keys, values = (one.movedim(0, 2).flatten(2, 3) for one in span)
            middle = played.infos[run[len(run) // 2]]
            places = middle.positions[0].repeat(len(run))
            info = replace(played.infos[run[-1]], positions=places[None])
            info = replace(info, start_s=played.infos[run[0]].start_s)
            whole = replace(played, infos=[info], keys=keys[None], values=values[None])
            one, _ = cut(whole, 0, norm(whole, 0), min(num_kept, size * len(run)))
            made[run[-1]] = one
        return made

    return rule


def fitted(num_kept: int, has_bias: bool, has_values: bool) -> Rule:
    """Keys by value norm; a bias that keeps the mass that the bank pays, values its output."""

    def rule(played: Played) -> dict[int, Cut]:
        made = {}
        for at in range(len(played.infos)):
            one, best = cut(played, at, norm(played, at), num_kept)
            logits = played.attention(at)
            staying = torch.take_along_dim(logits, best[:, :, None], dim=-1)
            mass = logits.logsumexp(dim=-1) - staying.logsumexp(dim=-1)
            bias = mass.mean(dim=-1)[..., None, None].expand(*staying.shape[:2], 1, num_kept)
            values = one.values
            if has_values:
                wanted = logits.softmax(dim=-1) @ played.values[at]
                paid = staying.softmax(dim=-1)
                square = paid.mT @ paid + _RIDGE * paid.shape[2] * torch.eye(num_kept)
                off = paid.mT @ (wanted - paid @ values)
                values = values + torch.linalg.solve(square, off)
            made[at] = replace(one, values=values, bias=bias if has_bias else None)
        return made

    return rule


def kept(rule: Rule, codec: str) -> Rule:
    """The same as a store keeps it in that codec."""

    def rounded(played: Played) -> dict[int, Cut]:
        make, made = played.session.memory.provenance, {}
        for at, one in rule(played).items():
            block = KVBlock(one.info, one.keys, one.values, b"", one.found_by[:, None])
            record = record_of(block, at, make, codec, is_rewritten=True)
            back, size = block_of(record), len(record.to_bytes())
            assert back.index is not None
            made[at] = Cut(back.keys, back.values, back.info, back.index[:, 0], num_bytes=size)
        return made

    return rounded


RULES: dict[str, Rule] = {
    "value norm, 2 of 12": every(norm, 2),
    "attention of other questions, 2": every(asked, 2),
    "that times value norm, 2": every(asked_norm, 2),
    "value norm and surprise, 2": every(surprise, 2),
    "value norm, fitted bias, 2": fitted(2, has_bias=True, has_values=False),
    "value norm, fitted values, 2": fitted(2, has_bias=False, has_values=True),
    "value norm, both fitted, 2": fitted(2, has_bias=True, has_values=True),
    "ends of runs 3, inside 1": uneven(3, 1),
    "ends of runs 3, inside gone": uneven(3, 0),
    "ends of runs 12, inside gone": uneven(12, 0),
    "runs as one block, 5": merged(5),
    "value norm, 1": every(norm, 1),
    "value norm, 4": every(norm, 4),
    "1, int4_token": kept(every(norm, 1), "int4_token"),
    "2, int4_token": kept(every(norm, 2), "int4_token"),
    "2, int2_token": kept(every(norm, 2), "int2_token"),
    "4 of ends of runs (0.9), int2_token": kept(uneven(4, 0, 0.9), "int2_token"),
    "4 of ends of runs (0.93), int2_token": kept(uneven(4, 0, 0.93), "int2_token"),
    "4 of ends of runs (0.95), int2_token": kept(uneven(4, 0, 0.95), "int2_token"),
    "2 of ends of runs (0.93), int4_token": kept(uneven(2, 0, 0.93), "int4_token"),
}
