"""infllm, a sketch: a block is found by those of its tokens that got most attention in the window.

Source: InfLLM (Xiao et al., NeurIPS 2024, https://arxiv.org/abs/2402.04617), section 3.2.
"""

from dataclasses import replace

import torch
from pydantic import Field

from memory.aging_memory import REWRITE_BLOCKS
from memory.policies.default import Default, DefaultSettings
from memory.policies.policy import Card


class InfLLMSettings(DefaultSettings):
    representatives: int = Field(4, ge=1, description="Tokens that stand for a block.")


class InfLLM(Default):
    """Differs: chosen by the heads of a group together; no retrieval while a block is encoded."""

    name = "infllm"
    card = Card(
        paper="InfLLM (Xiao et al., NeurIPS 2024), arXiv 2402.04617",
        keeps="every block; those left behind are found by the tokens that were looked at most",
        is_exact=False,
    )
    Settings = InfLLMSettings
    settings: InfLLMSettings
    changes_store = True
    wants_mass = True

    def note(self, block, state):
        oldest = block.block_id - self.needed_blocks() - 2 * REWRITE_BLOCKS
        noted = {name: None for name in state if int(name) < oldest}
        for block_id, paid in block.mass.items():
            mass = paid.float().cpu()
            if str(block_id) in state:
                mass = mass + _mass(state, block_id).view(mass.shape)
            noted[str(block_id)] = mass.numpy().tobytes()
        return noted

    def rewrite(self, old, block_id, state):
        layers, heads, tokens, _ = old.keys.shape
        count = min(self.settings.representatives, tokens)
        best = _mass(state, block_id).view(layers, heads, tokens).topk(count).indices
        keys = torch.take_along_dim(old.keys.float(), best[..., None], dim=2)
        return replace(old, index=keys.mean(dim=2).flatten(1)[:, None])


def _mass(state, block_id):
    return torch.frombuffer(bytearray(state[str(block_id)]), dtype=torch.float32)
