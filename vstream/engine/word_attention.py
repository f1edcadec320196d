"""WordAttention: measures how much the words of an answer attended to each block.

It looks at a few layers, which the model's family names. What counts is where the model looked as
it chose a word: the query of the token before it, for the first word the last token of the
question. During decoding only these queries are kept; at the end they meet the keys of the context
in one product. The keys are those that the question left, [prefix | blocks | question]: attention
between the words is left out, and a window that slides on behind the question is not followed.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from vstream.engine.answer_context import AnswerContext, Sight
from vstream.engine.decoder import Decoder
from vstream.engine.positions import text_positions

MOST_WORDS = 32
"""How many tokens at the start of an answer are looked at."""


def layers_at(depths: Sequence[float], num_layers: int) -> tuple[int, ...]:
    """Return the layers at these depths: 0 is the first, 1 the last."""
    return tuple(sorted({round(depth * (num_layers - 1)) for depth in depths}))


class WordAttention:
    """Attention of one answer; holds the keys of its layers as long as it lives."""

    def __init__(self, decoder: Decoder, layers: Sequence[int]) -> None:
        self.layers = layers
        self._decoder = decoder
        self._queries: dict[int, list[Tensor]] = {layer: [] for layer in layers}
        self._sights: dict[int, list[Sight]] = {}
        self._next_text: dict[int, int] = {}

    def see(self, context: AnswerContext) -> None:
        """Take the keys of `context`, which must be as the question left it."""
        for layer in self.layers:
            self._sights[layer] = context.sights(layer)
            self._next_text[layer] = context.laid(layer).next_text

    def take(self, layer: int, queries: Float[Tensor, "heads head_dim"]) -> None:
        """Keep the queries of the newest token, before RoPE and scaled."""
        if len(self._queries[layer]) < MOST_WORDS:
            self._queries[layer].append(queries)

    def by_block(self, num_words: int) -> dict[int, float]:
        """Return each block's share of the attention that all blocks got, by id. Sums over the
        first `num_words` words, heads and layers; a block that a layer did not retrieve got nothing
        there. Empty without words or blocks.
        """
        mass: dict[int, float] = {}
        for layer, taken in self._queries.items():
            if num_words and taken:
                queries = torch.stack(taken[:num_words], dim=1)
                for block_id, share in self._in_layer(layer, queries):
                    mass[block_id] = mass.get(block_id, 0.0) + share
        whole = sum(mass.values())
        return {block_id: one / whole for block_id, one in mass.items()} if whole else {}

    def _in_layer(
        self, layer: int, queries: Float[Tensor, "heads words head_dim"]
    ) -> list[tuple[int, float]]:
        rope, sights = self._decoder.rope, self._sights[layer]
        words, device = queries.shape[1], queries.device
        first = self._next_text[layer] - 1
        own = text_positions(first, words, self._decoder.num_axes, device)
        scores = []
        for sight in sights:
            at = own if sight.distance is None else torch.full_like(own, sight.distance)
            rotated = rope.rotate(queries, at).unflatten(0, (len(sight.keys), -1)).flatten(1, 2)
            scores.append(rotated.float() @ sight.keys.float().transpose(1, 2))
        weights = torch.cat(scores, dim=2).softmax(dim=2).sum(dim=(0, 1))
        found: list[tuple[int, float]] = []
        for sight, part in zip(
            sights, weights.split([s.keys.shape[1] for s in sights]), strict=True
        ):
            found += _of_blocks(part[: sight.end], sight.blocks)
        return found


def _of_blocks(
    weights: Float[Tensor, " tokens"], blocks: Mapping[int, int]
) -> list[tuple[int, float]]:
    if not blocks:
        return []
    parts = weights[len(weights) - sum(blocks.values()) :].split(list(blocks.values()))
    return list(zip(blocks, torch.stack([part.sum() for part in parts]).tolist(), strict=True))
