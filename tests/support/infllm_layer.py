"""One layer under InfLLM's rules without a model: queries, keys and values in, outputs out."""

import torch

from memory import BlockInfo, KVBlock, MemoryConfig, open_memory
from memory.policies.policy import InfllmRule
from vstream.engine.infllm import InfllmStep, InfllmStream
from vstream.engine.positions import Rope


def rope_of(head_dim, base=10_000.0):
    halves = torch.arange(0, head_dim, 2) / head_dim
    return Rope(base**-halves, torch.zeros(len(halves), dtype=torch.long))


class OneLayer:
    """A stream whose blocks, of `block_counts` tokens behind the first `n_init`, are put into its
    memory as they leave the window.
    """

    def __init__(self, rope, n_init, rule, block_counts, kv_heads, head_dim):
        self.memory = open_memory(
            MemoryConfig(codec="exact"),
            stream_id="layer",
            fingerprint="layer",
            layers=1,
            kv_heads=kv_heads,
            head_dim=head_dim,
            device=torch.device("cpu"),
        )
        self.stream = InfllmStream(rope, self.memory, n_init, InfllmRule(*rule))
        self.stream.counts = dict(enumerate(block_counts))
        self.retrieved = []
        """By exec block."""
        self._ends = n_init + torch.tensor([0, *block_counts]).cumsum(0)
        self._keys = self._values = None

    @property
    def looks(self):
        return self.stream.windows[0].looks

    @torch.inference_mode()
    def push(self, queries, keys, values, exec_counts):
        """The next tokens, in one pass."""
        step = InfllmStep(self.stream, exec_counts)
        output = step.attend(0, queries, keys, values, keys.shape[2] ** -0.5)
        self.retrieved += step.retrieved[0]
        if self._keys is not None:
            keys = torch.cat([self._keys, keys], dim=1)
            values = torch.cat([self._values, values], dim=1)
        self._keys, self._values = keys, values
        for gone in self.stream.end(step):
            for block_id, vectors in gone.items():
                self._put(block_id, vectors)
        return output

    def _put(self, block_id, vectors):
        """With its own head vectors."""
        part = slice(*self._ends[block_id : block_id + 2].tolist())
        count = part.stop - part.start
        info = BlockInfo(block_id, block_id, 0.0, torch.arange(count)[None], torch.tensor([count]))
        of_block = self._keys[None, :, part], self._values[None, :, part]
        assert self.memory.append(KVBlock(info, *of_block, left={block_id: vectors})) == block_id
