"""Gist: a block's keys and values in, those of a few learnt memory tokens at its end out.

Source: CMT (https://arxiv.org/abs/2412.07393) has a frozen language model read a document through
learnt tokens and keeps what became of them. Here the document is a block, the decoder itself reads
it, and the memory tokens' keys and values are kept of it. They stand at the block's last places,
see the prefix, the whole block and those before them, and go through the decoder's frozen layers.
What is learnt are a vector for each token and layer, and a low-rank change of what makes queries,
keys and values (LoRA, https://arxiv.org/abs/2106.09685).

Differs from CMT: nothing is aggregated across blocks and no encoder of its own retrieves; a block
is found by the mean key of all of it, as `moments` finds it.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eval.experiments.answers import Blocks
from memory.kv_block import KVBlock
from memory.policies.moments import Moments
from vstream.engine.positions import Rope
from vstream.engine.prefill import LayerKV

_RANK = 16


class Gist(nn.Module):
    """`num_tokens` memory tokens of one decoder, whose `layers` are frozen."""

    def __init__(self, layers: Sequence[Any], rope: Rope, prefix: LayerKV, num_tokens: int) -> None:
        """`prefix`: keys before RoPE and values of what stands before all blocks."""
        super().__init__()
        self._frozen = (list(layers), rope, prefix)
        first = layers[0].self_attn
        width = first.q_proj.in_features
        made = sum(one.out_features for one in (first.q_proj, first.k_proj, first.v_proj))
        self.num_tokens = num_tokens
        self.added = nn.Parameter(0.02 * torch.randn(len(layers), num_tokens, width))
        self.down = nn.Parameter(torch.randn(len(layers), width, _RANK) / width**0.5)
        self.up = nn.Parameter(torch.zeros(len(layers), _RANK, made))

    def forward(self, keys: Blocks, values: Blocks) -> tuple[Blocks, Blocks]:
        """Each block by itself, keys before RoPE: a block's gist depends on nothing else."""
        layers, rope, prefix = self._frozen
        num_blocks, num_places = keys.shape[2:4]
        hidden = keys.new_zeros(num_blocks, self.num_tokens, self.added.shape[2])
        start = prefix[0][0].shape[1]
        places = torch.arange(start + num_places)
        own = places[-self.num_tokens :]
        found: list[tuple[Tensor, Tensor]] = []
        for number, layer in enumerate(layers):
            hidden = hidden + self.added[number]
            queries, new_keys, new_values = self._heads(number, layer, hidden)
            found.append((new_keys, new_values))
            seen = []
            for first, block, new in (
                (prefix[number][0], keys[number], new_keys),
                (prefix[number][1], values[number], new_values),
            ):
                before = first[:, None].expand(-1, num_blocks, -1, -1)
                seen.append(torch.cat([before, block, new], dim=2))
            at = torch.cat([places, own]).repeat(num_blocks)[None]
            seen_keys = rope.rotate(seen[0].flatten(1, 2), at).view_as(seen[0])
            turned = rope.rotate(queries.flatten(1, 2), own.repeat(num_blocks)[None])
            output = _attended(turned.view_as(queries), seen_keys, seen[1])
            hidden = hidden + layer.self_attn.o_proj(output)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        both = zip(*found, strict=True)
        new_keys, new_values = (torch.stack(part) for part in both)
        return new_keys, new_values

    def _heads(self, number: int, layer: Any, hidden: Tensor) -> list[Tensor]:
        """Queries, keys and values, [heads, blocks, tokens, head_dim]."""
        attention = layer.self_attn
        normed = layer.input_layernorm(hidden)
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        sizes = [one.out_features for one in projections]
        more = (normed @ self.down[number] @ self.up[number]).split(sizes, dim=-1)
        made = [one(normed) + other for one, other in zip(projections, more, strict=True)]
        return [one.unflatten(-1, (-1, attention.head_dim)).permute(2, 0, 1, 3) for one in made]


def _attended(queries: Tensor, keys: Tensor, values: Tensor) -> Float[Tensor, "blocks tokens d"]:
    """Each block's memory tokens over all before them and themselves."""
    tokens, seen = queries.shape[2], keys.shape[2]
    mask = torch.ones(tokens, seen, dtype=torch.bool).tril(diagonal=seen - tokens)
    group = len(queries) // len(keys)
    keys, values = (one.repeat_interleave(group, dim=0) for one in (keys, values))
    scores = queries @ keys.mT * queries.shape[-1] ** -0.5
    output: Tensor = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1) @ values
    return output.permute(1, 2, 0, 3).flatten(2)


class Gists(Moments):
    """Differs from `moments` in that of an old block the memory tokens stay that `trained` has."""

    name = "gists"
    trained: ClassVar[dict[int, Gist]] = {}
    """By the number of tokens."""

    @torch.no_grad()
    def cut(self, block: KVBlock, num_kept: int) -> KVBlock:
        keys, values = self.trained[num_kept](block.keys[:, :, None], block.values[:, :, None])
        info = replace(block.info, positions=block.info.positions[:, -num_kept:])
        return replace(block, info=info, keys=keys[:, :, 0], values=values[:, :, 0])
