"""flash_vstream, a sketch of its STAR memory: the newest frame, and clusters of all those before.

Source: Flash-VStream (Zhang et al., 2024, https://arxiv.org/abs/2406.08085), section 3.2.
"""

import torch
from pydantic import Field
from safetensors.torch import load, save
from torch.nn.functional import adaptive_avg_pool1d

from memory.policies.policy import Card, Encoding, MemoryPolicy, PolicySettings
from memory.policy_hooks import Context
from memory.token_bytes import KeptTokens, tokens_of, tokens_to_bytes


class FlashVStreamSettings(PolicySettings):
    centroids: int = Field(25, ge=1, description="Clusters of the temporal memory.")
    tokens: int = Field(2, ge=1, description="Tokens of each.")


class FlashVStream(MemoryPolicy):
    """Differs: k-means starts from the old centroids; no abstract memory, no retrieved frames."""

    name = "flash_vstream"
    card = Card(
        paper="Flash-VStream (Zhang et al., 2024), arXiv 2406.08085",
        keeps="the newest frame, and clusters of all frames, which every question reads again",
        is_exact=False,
    )
    Settings = FlashVStreamSettings
    settings: FlashVStreamSettings
    changes_store = True
    follows_times = False

    def encoding(self):
        return Encoding(1, 1)

    def recent_blocks(self):
        return 0

    def keep_blocks(self):
        return 8

    def note(self, block, state):
        features = block.tokens.embeddings[block.tokens.is_visual].float().cpu()
        pooled = adaptive_avg_pool1d(features.T[None], self.settings.tokens)[0].T[None]
        times = torch.tensor([block.tokens.end_s])
        new = {"rows": pooled, "weights": torch.ones(1), "times": times}
        old = load(state["clusters"]) if "clusters" in state else {n: t[:0] for n, t in new.items()}
        found = {name: torch.cat([old[name], new[name]]) for name in new}
        noted = {"newest": tokens_to_bytes(block.tokens)}
        if len(found["rows"]) > self.settings.centroids:
            found = _clustered(found, self.settings.centroids)
            noted["merged_s"] = str(block.tokens.end_s).encode()
        return {**noted, "clusters": save({n: t.contiguous() for n, t in found.items()})}

    def context(self, query, state):
        found, newest = load(state["clusters"]), tokens_of(state["newest"])
        count, axes = self.settings.tokens, len(newest.positions)
        places = torch.arange(count).expand(axes, count)
        advance, visual = torch.full((axes,), count), torch.ones(count, dtype=torch.bool)
        clusters = [
            KeptTokens(row.to(newest.embeddings.dtype), places, advance, visual, float(t), float(t))
            for row, t in zip(found["rows"], found["times"], strict=True)
            if t <= query.at_s
        ]
        return Context([*clusters, *([newest] if newest.end_s <= query.at_s else [])])

    def coarser_since(self, state):
        return float(state["merged_s"]) if "merged_s" in state else None


def _clustered(found, k, rounds=10):
    rows, weights = found["rows"].flatten(1), found["weights"]
    centres = rows[:k]
    for _ in range(rounds):
        member = torch.cdist(rows, centres).argmin(dim=1) == torch.arange(k)[:, None]
        share = member * weights
        total = share.sum(dim=1, keepdim=True)
        moved = torch.where(total > 0, share @ rows / total.clamp_min(1e-9), centres)
        moved, centres = (moved - centres).abs().max(), moved
        if moved < 1e-4:
            break
    times = (share @ found["times"]) / total[:, 0].clamp_min(1e-9)
    full, order = total[:, 0] > 0, times.argsort()
    order = order[full[order]]
    rows = centres.view(k, *found["rows"].shape[1:])
    return {"rows": rows[order], "weights": total[order, 0], "times": times[order]}
