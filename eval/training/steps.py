"""Steps: attention in training, the way the engine computes it when it answers.

All drive the stock decoder through the engine's own attention hook (vstream.engine.decoder), so
that the model is trained on the contexts it will see: frames are read through the stepped local
window of vstream.engine.prefill; a question reads [prefix | retrieved frames | recent frames |
itself] at contiguous positions, and each layer retrieves for itself (ReKV, arXiv 2503.00540,
section 3.2). Differs from the engine: many streams and questions at once, and gradients.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.training.presets import FRAME_TOKENS
from vstream.engine.positions import Rope

MINUS_INFINITY = -1e4


class FramesStep:
    """[prefix | frames of all streams], each frame through the local window of its own stream.
    `captured`: by layer keys (before RoPE) and values, [kv_heads, tokens, head_dim].
    """

    def __init__(self, rope: Rope, stream_frames: int, stride: int, num_strides: int) -> None:
        """The window is `num_strides` strides long; streams are whole strides long."""
        assert stream_frames % stride == 0
        self._rope = rope
        self._chunks = stream_frames // stride
        self._chunk_tokens = stride * FRAME_TOKENS
        self._before = num_strides - 1
        self.captured: list[tuple[Tensor, Tensor]] = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        self.captured.append((keys, values))
        kv_heads, num_tokens, head_dim = keys.shape
        group, size = len(queries) // kv_heads, self._chunk_tokens
        own = torch.arange(size, device=keys.device) + 1 + self._before * size
        turned = self._rope.rotate(queries[:, 1:], own.repeat((num_tokens - 1) // size)[None])
        chunked = turned.view(kv_heads, group, -1, size, head_dim).permute(2, 0, 1, 3, 4)
        output = F.scaled_dot_product_attention(
            chunked.flatten(2, 3),
            self._rotated_keys(keys),
            self._in_window(values),
            attn_mask=self._mask(len(chunked), keys.device).repeat(1, 1, group, 1),
            scale=scale,
        )
        frames = output.view(len(chunked), kv_heads, group, size, head_dim)
        frames = frames.permute(1, 2, 0, 3, 4).reshape(len(queries), -1, head_dim)
        prefix = values[:, :1].repeat_interleave(group, dim=0)  # it attends only to itself
        return torch.cat([prefix, frames], dim=1)

    def _rotated_keys(self, keys: Tensor) -> Float[Tensor, "chunks kv_heads window head_dim"]:
        """Return the keys in each chunk's window, the last at its own queries' positions."""
        size = self._chunk_tokens
        count = (keys.shape[1] - 1) // size
        window = self._in_window(keys)
        tokens = torch.arange(1 + (self._before + 1) * size, device=keys.device)
        positions = tokens.expand(count, -1).clone()
        # While the window is not full, the prefix comes right before its contents.
        in_stream = torch.arange(count, device=keys.device) % self._chunks
        positions[:, 0] = (self._before - in_stream).clamp(min=0) * size
        return rotated(self._rope, window, positions)

    def _in_window(
        self, x: Float[Tensor, "kv_heads tokens dim"]
    ) -> Float[Tensor, "chunks kv_heads window dim"]:
        chunks: Tensor = x[:, 1:].unflatten(1, (-1, self._chunk_tokens))
        parts = [x[:, None, :1].expand(-1, chunks.shape[1], -1, -1)]
        for back in range(self._before, -1, -1):
            parts.append(torch.roll(chunks, back, dims=1))  # what rolls over is masked
        return torch.cat(parts, dim=2).transpose(0, 1)

    def _mask(
        self, num_chunks: int, device: torch.device
    ) -> Bool[Tensor, "chunks 1 queries window"]:
        size = self._chunk_tokens
        in_stream = torch.arange(num_chunks, device=device) % self._chunks
        parts = [torch.ones(num_chunks, size, 1, dtype=torch.bool, device=device)]
        for back in range(self._before, 0, -1):
            parts.append((in_stream >= back)[:, None, None].expand(-1, size, size))
        own = torch.ones(size, size, dtype=torch.bool, device=device).tril()
        parts.append(own.expand(num_chunks, -1, -1))
        return torch.cat(parts, dim=2)[:, None]


class WordingsStep:
    """Questions in a row, each attending only to itself. Each one's first token takes the place of
    the prefix, the others follow `start` frames.
    """

    def __init__(self, rope: Rope, num_questions: int, length: int, start: int) -> None:
        self._rope = rope
        self._shape = num_questions, length
        self._positions = torch.arange(length) + start * FRAME_TOKENS
        self._positions[0] = 0

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        positions = self._positions.repeat(self._shape[0])[None].to(keys.device)
        turned = self._rope.rotate(queries, positions), self._rope.rotate(keys, positions), values
        queries, keys, values = (x.unflatten(1, self._shape).transpose(0, 1) for x in turned)
        length = self._shape[1]
        is_seen = torch.ones(length, length, dtype=torch.bool, device=keys.device).tril()
        return attended(queries, keys, values, is_seen[None], scale)


@dataclass(frozen=True, eq=False)
class PaddedQuestions:
    """Questions of several streams, padded to one length; first axis: questions.

    `own` marks the words of the question itself, `frame` is the newest frame it may see, counted
    over all streams, `first` the first frame of its stream. `wanted` frames are shown to it if it
    does not find them itself.
    """

    own: Bool[Tensor, "questions text"]
    frame: Int[Tensor, " questions"]
    first: Int[Tensor, " questions"]
    wanted: Bool[Tensor, "questions frames"]


class QuestionsStep:
    """Questions in a row, each over the frames that its layers retrieve. `cosines` holds each
    layer's similarity of question and frame, [questions, frames].
    """

    def __init__(
        self,
        rope: Rope,
        memory: list[tuple[Tensor, Tensor]],
        asked: PaddedQuestions,
        recent_frames: int,
        retrieve_frames: int,
    ) -> None:
        """`memory` is what a FramesStep captured."""
        self._rope = rope
        self._memory = memory
        self._asked = asked
        self._recent = recent_frames
        self._retrieve = retrieve_frames
        self.cosines: list[Tensor] = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        num_questions, length = self._asked.own.shape
        queries, keys, values = (
            x.unflatten(1, (num_questions, length)).transpose(0, 1) for x in (queries, keys, values)
        )
        memory_keys, memory_values = self._memory[layer]
        cosines = self._compare(queries, memory_keys)
        self.cosines.append(cosines)
        slots, is_filled = self._retrieved(cosines.detach())
        # Filled slots follow the prefix without gaps.
        starts = 1 + FRAME_TOKENS * (is_filled.long().cumsum(1) - 1).clamp(min=0)
        context_keys = self._gather(memory_keys, slots)
        context_values = self._gather(memory_values, slots)
        within = torch.arange(FRAME_TOKENS, device=keys.device)
        positions = (starts[..., None] + within).flatten(1)
        text_start = 1 + FRAME_TOKENS * is_filled.sum(1)
        text_positions = text_start[:, None] + torch.arange(length, device=keys.device)
        context_keys = rotated(self._rope, context_keys, positions)
        text_keys = rotated(self._rope, keys, text_positions)
        prefix = (x[:, :1].expand(num_questions, -1, -1, -1) for x in (memory_keys, memory_values))
        prefix_keys, prefix_values = prefix  # at position 0, so not rotated
        all_keys = torch.cat([prefix_keys, context_keys, text_keys], dim=2)
        all_values = torch.cat([prefix_values, context_values, values], dim=2)
        turned = rotated(self._rope, queries, text_positions)
        return attended(turned, all_keys, all_values, _is_seen(is_filled, length), scale)

    def _compare(self, queries: Tensor, keys: Tensor) -> Float[Tensor, "questions frames"]:
        """Return the cosine of the question's mean query (own words) and each frame's mean key."""
        own = self._asked.own[:, None, :, None]
        mean = (queries.float() * own).sum(2) / own.sum(2).clamp(min=1)
        kv_heads = keys.shape[0]
        query: Tensor = mean.unflatten(1, (kv_heads, -1)).sum(2).flatten(1)
        frames: Tensor = keys[:, 1:].float().unflatten(1, (-1, FRAME_TOKENS)).mean(2)
        key = frames.transpose(0, 1).flatten(1)
        return F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).T

    def _retrieved(
        self, cosines: Float[Tensor, "questions frames"]
    ) -> tuple[Int[Tensor, "questions slots"], Bool[Tensor, "questions slots"]]:
        """Return frames in stream order, missing ones first; and which slots are filled."""
        asked, frames = self._asked, torch.arange(cosines.shape[1], device=cosines.device)
        newest = asked.frame[:, None]
        oldest_recent = (newest - self._recent + 1).maximum(asked.first[:, None])
        is_older = (frames >= asked.first[:, None]) & (frames < oldest_recent)
        liking = (cosines + 3.0 * asked.wanted).masked_fill(~is_older, MINUS_INFINITY)
        top = liking.topk(min(self._retrieve, liking.shape[1]), dim=1)
        missing = torch.full_like(top.indices, -1)
        older = torch.where(top.values > MINUS_INFINITY / 2, top.indices, missing).sort(1).values
        recent = newest - torch.arange(self._recent - 1, -1, -1, device=frames.device)
        recent = torch.where(recent >= asked.first[:, None], recent, torch.full_like(recent, -1))
        slots = torch.cat([older, recent], dim=1).sort(1).values
        return slots.clamp(min=0), slots >= 0

    def _gather(
        self, memory: Float[Tensor, "kv_heads tokens dim"], slots: Int[Tensor, "questions slots"]
    ) -> Float[Tensor, "questions kv_heads context dim"]:
        frames: Tensor = memory[:, 1:].unflatten(1, (-1, FRAME_TOKENS))
        by_frame = frames.transpose(0, 1).flatten(1)
        taken = by_frame.index_select(0, slots.flatten())
        shape = (len(slots), slots.shape[1], memory.shape[0], FRAME_TOKENS, memory.shape[2])
        return taken.view(shape).transpose(1, 2).flatten(2, 3)


def rotated(
    rope: Rope, x: Float[Tensor, "parts heads tokens dim"], positions: Int[Tensor, "parts tokens"]
) -> Float[Tensor, "parts heads tokens dim"]:
    heads_first = x.transpose(0, 1)
    turned = rope.rotate(heads_first.flatten(1, 2), positions.flatten()[None])
    return turned.view(heads_first.shape).transpose(0, 1)


def _is_seen(
    is_filled: Bool[Tensor, "questions slots"], length: int
) -> Bool[Tensor, "questions text keys"]:
    """Text sees the prefix, filled slots, itself and the text before it."""
    num_questions = len(is_filled)
    prefix = is_filled.new_ones(num_questions, length, 1)
    frames = is_filled.repeat_interleave(FRAME_TOKENS, dim=1)[:, None].expand(-1, length, -1)
    causal = is_filled.new_ones(length, length).tril().expand(num_questions, -1, -1)
    return torch.cat([prefix, frames, causal], dim=2)


def attended(
    queries: Float[Tensor, "questions heads text dim"],
    keys: Float[Tensor, "questions kv_heads keys dim"],
    values: Float[Tensor, "questions kv_heads keys dim"],
    is_seen: Bool[Tensor, "#questions text keys"],
    scale: float,
) -> Float[Tensor, "heads tokens dim"]:
    """Attend without the fused kernel: with so few queries, more than twice as fast."""
    group = queries.shape[1] // keys.shape[1]
    packed = queries.unflatten(1, (-1, group)).flatten(2, 3)
    scores = packed @ keys.transpose(2, 3) * scale
    hidden = ~is_seen[:, None].repeat(1, 1, group, 1)
    output: Tensor = scores.masked_fill(hidden, MINUS_INFINITY).softmax(-1) @ values
    return output.view(queries.shape).transpose(0, 1).flatten(1, 2)
