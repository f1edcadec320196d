"""InfLLM's rules over a stream and over a question, so that its results can be reproduced.

Source: InfLLM (Xiao et al., NeurIPS 2024, https://arxiv.org/abs/2402.04617) and its released code;
`vstream.engine.infllm_layer` has what one layer does. Differs: the exec blocks are the stream's
blocks, and its first tokens are the prefix. A question is one exec block behind the newest blocks,
whatever its length, and its answer keeps what it retrieved; what slides out of the window meanwhile
is read whole from afar and becomes no block. The memory policy `infllm` uses it.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor

from encoders import TextTokens
from memory import MemoryReader
from memory.policies.policy import InfllmRule
from memory.policy_hooks import State, StateChange, Tokens
from vstream.engine.answer_context import AnswerContext, Sight
from vstream.engine.decoder import Decoder
from vstream.engine.infllm_layer import (
    KeysValues,
    Left,
    Passing,
    Rule,
    Window,
    mean_query,
    near_and_far,
    rotated_to,
)
from vstream.engine.passes import Pass, Work, alone
from vstream.engine.positions import Rope, text_positions
from vstream.engine.prefill import Encoded, LayerKV, WritePath, split_by_block
from vstream.errors import SettingsError
from vstream.read_while_written import read_while_written

_NOTED_BLOCKS = 16
"""How often to note what the window collected: a crash loses what came since."""
_LOOKS = "infllm looks"
"""The note of the attention that the window's tokens have collected, block by block."""


class InfllmStream:
    """What all layers of one stream hold, and which blocks have left the window."""

    def __init__(self, rope: Rope, memory: MemoryReader, n_init: int, rule: InfllmRule) -> None:
        self.rope = rope
        self.memory = memory
        self.rule = Rule(n_init, rule.window_tokens, rule.representatives)
        self.retrieve_blocks = rule.retrieve_blocks
        self.windows: list[Window] = []
        """By layer; empty before the first tokens."""
        self.counts: dict[int, int] = {}
        """Token counts of the blocks that leave next, by id."""
        self.newest = -1
        """The newest block that has left. The memory must have all up to it before a pass."""

    def leaving(self, num_new: int) -> list[int]:
        """Return the blocks that will have left once `num_new` more tokens have come."""
        found, held = [], self.windows[0].keys.shape[1] if self.windows else 0
        held += num_new - self.rule.n_init
        for block_id, count in self.counts.items():
            if (held := held - count) < self.rule.n_local:
                break
            found.append(block_id)
        return found

    def end(self, step: "InfllmStep") -> list[Mapping[int, Float[Tensor, "layers heads*head_dim"]]]:
        """After a pass, return the head vectors of the blocks that left, by exec block."""
        self.windows = [passing.window for passing in step.passings]
        found: list[Mapping[int, Tensor]] = []
        for by_layer in zip(*(passing.left for passing in step.passings), strict=True):
            gone = {}
            for left in zip(*by_layer, strict=True):
                block_id = next(iter(self.counts))
                del self.counts[block_id]
                self.newest = block_id
                gone[block_id] = torch.stack([one.vector for one in left])
            found.append(gone)
        return found


class InfllmStep:
    """One call of the decoder over exec blocks of `exec_counts` tokens."""

    def __init__(self, stream: InfllmStream, exec_counts: Sequence[int]) -> None:
        self._stream = stream
        self._exec_counts = exec_counts
        self.passings: list[Passing] = []
        self.retrieved: list[list[list[int]]] = []
        """By layer and exec block."""
        self.captured: LayerKV = []

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, scale: float
    ) -> Tensor:
        stream = self._stream
        self.captured.append((keys, values))
        window = Window(keys[:, :0], values[:, :0], queries[:, :0, 0].float())
        if stream.windows:
            window = stream.windows[layer]
        passing = Passing(stream.rope, stream.rule, window)
        self.passings.append(passing)
        self.retrieved.append([])
        new, counts = (queries, keys, values), list(stream.counts.values())

        def open_past(by: Tensor) -> _Past:
            return _Past(stream, layer, passing, by, keys.shape[1], self.retrieved[layer])

        return passing.attend(new, scale, self._exec_counts, counts, open_past)


class _Past:
    """What one layer of a pass may read: the blocks that left before it, and those that leave in
    it. What the memory has of them is read from there, so that it makes no difference how a stream
    is cut into passes.
    """

    def __init__(
        self,
        stream: InfllmStream,
        layer: int,
        passing: Passing,
        queries: Float[Tensor, "exec_blocks heads*head_dim"],
        num_new: int,
        retrieved: list[list[int]],
    ) -> None:
        """`num_new` tokens come in the pass; `retrieved` collects the ids of what is read."""
        self._stream, self._layer, self._passing, self._num_new = stream, layer, passing, num_new
        self._queries, self._retrieved = queries.cpu(), retrieved
        self._dtype, self._device = passing.window.keys.dtype, queries.device
        self._ids: list[int] = []
        self._stored: dict[int, KeysValues] = {}
        read_while_written(self._read)

    def __call__(self, number: int) -> list[KeysValues]:
        in_pass = (left for one in self._passing.left for left in one)
        left: dict[int, Left] = dict(zip(self._stream.counts, in_pass, strict=False))
        ids, scores = [*(self._ids[at] for at in self._best[number]), *left], self._scores[number]
        if left:
            vectors = torch.stack([one.vector for one in left.values()]).cpu()
            scores = torch.cat([scores, vectors @ self._queries[number]])
        best = scores.topk(min(self._stream.retrieve_blocks, len(ids))).indices.tolist()
        chosen = sorted(ids[at] for at in best)
        self._retrieved.append(chosen)
        return [
            self._stored[i] if i in self._stored else (left[i].keys, left[i].values) for i in chosen
        ]

    def _read(self) -> None:
        """Read from the memory, once, all that any exec block may read. Of blocks that are equally
        relevant, those read here are the ones chosen.
        """
        memory, count = self._stream.memory, self._stream.retrieve_blocks
        below = self._stream.newest + 1
        self._ids, scores = memory.head_vectors.candidates(self._layer, self._queries, below, count)
        self._scores, best = scores.topk(min(count, len(self._ids)))
        self._best: list[list[int]] = best.tolist()
        wanted = [self._ids[at] for at in best.unique().tolist()]
        wanted += [i for i in self._stream.leaving(self._num_new) if i < memory.num_blocks]
        if wanted:
            keys, values = memory.read(self._layer, wanted, self._dtype, self._device)
            counts = [memory.info(block_id).num_tokens for block_id in wanted]
            parts = zip(keys.split(counts, dim=1), values.split(counts, dim=1), strict=True)
            self._stored = dict(zip(wanted, parts, strict=True))


class InfllmPrefill(WritePath):
    """The write path of one stream by InfLLM's rules; stands in for `Prefill`."""

    reads_memory = True

    def __init__(
        self, decoder: Decoder, prefix: TextTokens, memory: MemoryReader, rule: InfllmRule
    ) -> None:
        if decoder.num_axes != 1:
            raise SettingsError("InfLLM's rules are for one rotary axis only")
        self._decoder = decoder
        n_init = len(prefix.embeddings)
        self._stream = InfllmStream(decoder.rope, memory, n_init, rule)
        self.num_blocks = 0
        """Blocks encoded since the start of the stream."""
        self.prefix: LayerKV = alone(decoder, self._run(prefix.embeddings, [n_init]))[0]

    def restore(self, ids: Sequence[int], kept: LayerKV, state: State) -> None:
        """Continue after the memory's blocks; `ids` are those of the window, held in `kept`."""
        stream, memory = self._stream, self._stream.memory
        self.num_blocks, stream.newest = memory.num_blocks, memory.head_vectors.newest
        stream.counts = {block_id: memory.info(block_id).num_tokens for block_id in ids}
        if not ids:
            return
        noted = load(state[_LOOKS]) if _LOOKS in state else {}
        shape = len(kept), self._decoder.num_heads
        looks = torch.cat(
            [
                noted.get(str(block_id), torch.zeros(*shape, count))
                for block_id, count in stream.counts.items()
            ],
            dim=2,
        ).to(self._decoder.device)
        stream.windows = [
            Window(
                torch.cat([first.keys, keys], dim=1),
                torch.cat([first.values, values], dim=1),
                torch.cat([first.looks, looked], dim=1),
            )
            for first, (keys, values), looked in zip(stream.windows, kept, looks, strict=True)
        ]

    def note(self) -> StateChange:
        """Return what the tokens of the window have collected."""
        counts = self._stream.counts
        if not counts:
            return {}
        looks = torch.stack([window.looks for window in self._stream.windows])
        parts = looks[:, :, -sum(counts.values()) :].cpu().split(list(counts.values()), dim=2)
        return {
            _LOOKS: save({str(i): one.contiguous() for i, one in zip(counts, parts, strict=True)})
        }

    def work(self, chunk: Sequence[Tokens]) -> Work[Encoded]:
        """Like `Prefill.work`; all earlier blocks must be in the memory."""
        counts = [len(block.embeddings) for block in chunk]
        before = dict(self._stream.counts)
        self._stream.counts.update(enumerate(counts, self.num_blocks))
        try:
            captured, hidden = yield from self._run(
                torch.cat([block.embeddings for block in chunk]), counts
            )
        except BaseException:
            self._stream.counts = before
            raise
        noted = self.num_blocks // _NOTED_BLOCKS
        self.num_blocks += len(chunk)
        self.is_note_due = self.num_blocks // _NOTED_BLOCKS > noted
        return split_by_block(captured, chunk), hidden

    def _run(self, embeddings: Tensor, counts: Sequence[int]) -> Work[tuple[LayerKV, Tensor]]:
        step = InfllmStep(self._stream, counts)
        hidden = yield Pass(embeddings, step)
        self.left = self._stream.end(step)
        return step.captured, hidden


class InfllmContext(AnswerContext):
    """[prefix | recent window | text], seen near, and retrieved blocks, seen from afar."""

    def __init__(
        self, decoder: Decoder, prefix: LayerKV, memory: MemoryReader, room: int, n_local: int
    ) -> None:
        super().__init__(decoder, prefix, memory, room)
        self._n_local = n_local
        self._retrieved: LayerKV = []
        self._retrieved_tokens: list[dict[int, int]] = []

    @property
    def num_tokens(self) -> int:
        return super().num_tokens + self._retrieved[0][0].shape[1]

    def clear(self) -> None:
        super().clear()
        self._retrieved, self._retrieved_tokens = [], []

    def sought(self, queries: Float[Tensor, "heads tokens head_dim"]) -> Tensor:
        return mean_query(rotated_to(self._decoder.rope, queries, self._n_local - 1))

    def lay(self, layer: int, retrieved: Sequence[int], recent: Sequence[int] = ()) -> None:
        super().lay(layer, (), recent)
        decoder, empty = self._decoder, self.prefix[layer][0][:, :0]
        found = (empty, empty)
        if retrieved:
            found = self._memory.read(layer, retrieved, decoder.dtype, decoder.device)
        self._retrieved.append(found)
        self._retrieved_tokens.append({i: self._memory.info(i).num_tokens for i in retrieved})

    def sights(self, layer: int) -> list[Sight]:
        keys, blocks = self._retrieved[layer][0], self._retrieved_tokens[layer]
        return [*super().sights(layer), Sight(keys, blocks, keys.shape[1], self._n_local - 1)]

    def look(self, layer: int, queries: Tensor, rotated: Tensor, scale: float) -> Tensor:
        laid, rope, n_local = self.laid(layer), self._decoder.rope, self._n_local
        far = [self._retrieved[layer]]
        if (outside := laid.filled - n_local) > 0:
            back = -text_positions(0, outside, 1, rotated.device)
            far.append((rope.rotate(laid.keys[:, :outside], back), laid.values[:, :outside]))
        seen = slice(max(0, laid.filled - rotated.shape[1] - n_local + 1), None)
        near = laid.keys[:, seen], laid.values[:, seen]
        far_queries = rotated_to(rope, queries, n_local - 1)
        return near_and_far(rotated, near, n_local, far_queries, far, scale)[0]
