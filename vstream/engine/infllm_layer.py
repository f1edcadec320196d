"""InfLLM's attention in one layer: a block finds its own past while it is encoded.

Source: InfLLM (Xiao et al., NeurIPS 2024, https://arxiv.org/abs/2402.04617), sections 3.1 and 3.2,
as its released code computes it. The tokens of an *exec block* attend, under one softmax, to

    near   the tokens less than `n_local` before them, at their true distances
    far    [the `topk` most relevant past blocks | the first `n_init` tokens | tokens that have slid
           out of the window and are in no block yet], all at the one distance n_local - 1

All queries of an exec block see from afar what has slid out by its end, even those that still see
it near: it counts twice then. The relevance of a block is

    sum over query heads of <mean query of the exec block, rotated to n_local - 1, r[head]>

with r[head] the mean of the keys, before RoPE, of the `representatives` tokens of the block that
collected the most attention from that head while they were near. A block leaves the window once the
window holds `n_local` tokens without it.

`vstream.engine.infllm` runs it over a stream. One rotary axis only.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.positions import Rope, text_positions

KeysValues = tuple[
    Float[Tensor, "kv_heads tokens head_dim"], Float[Tensor, "kv_heads tokens head_dim"]
]
Retrieve = Callable[[int], Sequence[KeysValues]]
"""Takes the number of an exec block; returns the past blocks that it reads, keys before RoPE."""
OpenPast = Callable[[Float[Tensor, "exec_blocks heads*head_dim"]], Retrieve]
"""Takes what each exec block retrieves by: its mean query, see `mean_query`."""


@dataclass(frozen=True)
class Rule:
    """Counts in tokens; `representatives` is how many stand for a block."""

    n_init: int
    n_local: int
    representatives: int


@dataclass(frozen=True, eq=False)
class Window:
    """What one layer holds: [the first tokens | those that are in no block yet], before RoPE."""

    keys: Float[Tensor, "kv_heads tokens head_dim"]
    values: Float[Tensor, "kv_heads tokens head_dim"]
    looks: Float[Tensor, "heads tokens"]
    """The attention that each token got from later tokens while it was near."""


@dataclass(frozen=True, eq=False)
class Left:
    """A block that has left the window of one layer."""

    vector: Float[Tensor, " heads*head_dim"]
    """A representative key for each query head."""
    keys: Float[Tensor, "kv_heads tokens head_dim"]
    values: Float[Tensor, "kv_heads tokens head_dim"]


@dataclass(eq=False)
class Passing:
    """One layer's pass over exec blocks. Afterwards `window` is what it holds."""

    rope: Rope
    rule: Rule
    window: Window
    left: list[list[Left]] = field(default_factory=list)
    """The blocks that left with each exec block."""

    def attend(
        self,
        new: tuple[Tensor, Tensor, Tensor],
        scale: float,
        exec_counts: Sequence[int],
        block_counts: Sequence[int],
        open_past: OpenPast,
    ) -> Float[Tensor, "heads tokens head_dim"]:
        """Let `new`, queries, keys and values before RoPE, attend. `exec_counts` are the tokens of
        its exec blocks, `block_counts` those of the blocks that leave next, oldest first.
        """
        queries, new_keys, new_values = new
        n_init, n_local = self.rule.n_init, self.rule.n_local
        past, leaving = self.window.keys.shape[1], deque(block_counts)
        keys = torch.cat([self.window.keys, new_keys], dim=1)
        values = torch.cat([self.window.values, new_values], dim=1)
        looks = torch.cat(
            [self.window.looks, self.window.looks.new_zeros(queries.shape[:2])], dim=1
        )
        positions = text_positions(0, keys.shape[1], 1, keys.device)
        rotated = self.rope.rotate(keys, positions)
        near_queries = self.rope.rotate(queries, positions[:, past:])
        far_queries = rotated_to(self.rope, queries, n_local - 1)
        by_exec = far_queries.split(list(exec_counts), dim=1)
        retrieve = open_past(torch.stack([mean_query(one) for one in by_exec]))
        first, outputs, end = n_init, [], past  # blocks up to `first` have left
        for number, count in enumerate(exec_counts):
            start, end = end, end + count
            own = slice(start - past, end - past)
            out = max(0, n_init + end - first - n_local)
            far = [slice(0, min(out, n_init)), slice(first, first + max(0, out - n_init))]
            parts = [(keys[:, one], values[:, one]) for one in far if one.stop > one.start]
            parts += retrieve(number)
            near = slice(max(0, start - n_local + 1), end)
            seen = rotated[:, near], values[:, near]
            output, paid = near_and_far(
                near_queries[:, own], seen, n_local, by_exec[number], parts, scale
            )
            looks[:, near] += paid
            outputs.append(output)
            self.left.append([])
            while leaving and end - first - leaving[0] >= n_local:
                gone = slice(first, first + leaving.popleft())
                vector = representative(keys[:, gone], looks[:, gone], self.rule.representatives)
                self.left[-1].append(Left(vector, keys[:, gone], values[:, gone]))
                first = gone.stop
        kept = [torch.cat([x[:, :n_init], x[:, first:]], dim=1) for x in (keys, values, looks)]
        self.window = Window(*kept)
        return torch.cat(outputs, dim=1)


def rotated_to(rope: Rope, queries: Tensor, distance: int) -> Tensor:
    """Rotate all queries to one angle, for keys that are not rotated."""
    one = torch.full((1, queries.shape[1]), distance, device=queries.device)
    return rope.rotate(queries, one)


def mean_query(far: Float[Tensor, "heads tokens head_dim"]) -> Float[Tensor, " heads*head_dim"]:
    """Return what blocks are retrieved by, from queries that are rotated to n_local - 1."""
    return far.float().mean(dim=1).flatten()


def representative(
    keys: Float[Tensor, "kv_heads tokens head_dim"],
    looks: Float[Tensor, "heads tokens"],
    count: int,
) -> Float[Tensor, " heads*head_dim"]:
    """Return the mean of the `count` keys that each query head has looked at most."""
    best = looks.topk(min(count, looks.shape[1]), dim=1).indices
    group = len(looks) // len(keys)
    of_heads = keys.float().repeat_interleave(group, dim=0)
    return torch.take_along_dim(of_heads, best[:, :, None], dim=1).mean(dim=1).flatten()


def near_and_far(
    near_queries: Float[Tensor, "heads q_tokens head_dim"],
    near: KeysValues,
    n_local: int,
    far_queries: Float[Tensor, "heads q_tokens head_dim"],
    far: Sequence[KeysValues],
    scale: float,
) -> tuple[Float[Tensor, "heads q_tokens head_dim"], Float[Tensor, "heads k_tokens"]]:
    """Attend to `near` within the window and to all of `far`, under one softmax. The queries belong
    to the last keys of `near`. Also return the attention that each key of `near` got, summed over
    the queries.
    """
    heads, q_tokens, head_dim = near_queries.shape
    kv_heads, k_tokens, _ = near[0].shape

    def scores(queries: Tensor, keys: Tensor) -> Tensor:
        packed = queries.reshape(kv_heads, -1, head_dim)
        return (packed @ keys.transpose(1, 2)).float() * scale

    own = torch.ones(q_tokens, k_tokens, dtype=torch.bool, device=near_queries.device)
    before = k_tokens - q_tokens
    unseen = own.triu(before + 1) | own.tril(before - n_local)
    far_keys, far_values = (
        torch.cat(part, dim=1) for part in zip((near[0][:, :0], near[1][:, :0]), *far, strict=True)
    )
    parts = [scores(near_queries, near[0]), scores(far_queries, far_keys)]
    parts[0].masked_fill_(unseen.repeat(heads // kv_heads, 1), float("-inf"))
    weights = torch.cat(parts, dim=2).softmax(dim=2)
    dtype = near_queries.dtype
    near_weights, far_weights = weights[:, :, :k_tokens], weights[:, :, k_tokens:]
    output = near_weights.to(dtype) @ near[1] + far_weights.to(dtype) @ far_values
    paid = near_weights.unflatten(1, (-1, q_tokens)).sum(dim=2).flatten(0, 1)
    return output.reshape(heads, q_tokens, -1), paid
