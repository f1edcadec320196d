"""flash_vstream, a sketch of its STAR memory: the newest frame, and clusters of all those before.

Source: Flash-VStream (Zhang et al., 2024, https://arxiv.org/abs/2406.08085), section 3.2.
"""

import torch
from pydantic import Field
from safetensors.torch import load, save
from torch.nn.functional import adaptive_avg_pool1d

from memory.policies.last_frames import LastFrames, LastFramesSettings
from memory.policies.policy import Card
from memory.policy_hooks import Context
from memory.token_bytes import KeptTokens, tokens_of, tokens_to_bytes

TOKENS = 2


class FlashVStreamSettings(LastFramesSettings):
    centroids: int = Field(25, ge=1, description="Clusters of the temporal memory.")


class FlashVStream(LastFrames):
    """Differs: k-means starts from the old centroids; no abstract memory, no retrieved frames."""

    name = "flash_vstream"
    card = Card("Flash-VStream (2024), arXiv 2406.08085", "clusters of all frames", is_exact=False)
    Settings = FlashVStreamSettings

    def note(self, block, state):
        features = block.tokens.embeddings[block.tokens.is_visual].float().cpu()
        rows = adaptive_avg_pool1d(features.T[None], TOKENS)[0].T[None].contiguous()
        time = torch.tensor([block.tokens.end_s])
        found = {"rows": rows, "weights": torch.ones(1), "times": time}
        if "clusters" in state:
            old = load(state["clusters"])
            found = {name: torch.cat([old[name], found[name]]) for name in found}
        noted = {"newest": tokens_to_bytes(block.tokens)}
        if len(found["rows"]) > self.settings.centroids:
            found = _clustered(**found, k=self.settings.centroids)
            noted["merged_s"] = str(block.tokens.end_s).encode()
        return {**noted, "clusters": save(found)}

    def context(self, query, state):
        found, newest = load(state["clusters"]), tokens_of(state["newest"])
        axes = len(newest.positions)
        where = torch.arange(TOKENS).expand(axes, TOKENS), torch.full((axes,), TOKENS)
        rows = found["rows"].to(newest.embeddings.dtype)
        clusters = [
            KeptTokens(row, *where, torch.ones(TOKENS, dtype=torch.bool), time, time)
            for row, time in zip(rows, found["times"].tolist(), strict=True)
        ]
        return Context([one for one in (*clusters, newest) if one.end_s <= query.at_s])

    def coarser_since(self, state):
        return float(state["merged_s"]) if "merged_s" in state else None


def _clustered(rows, weights, times, k):
    flat = rows.flatten(1)
    centres = flat[:k]
    for _ in range(10):
        share = (torch.cdist(flat, centres).argmin(dim=1) == torch.arange(k)[:, None]) * weights
        total = share.sum(dim=1)
        mean = share @ flat / total.clamp_min(1e-9)[:, None]
        centres = torch.where(total[:, None] > 0, mean, centres)
    times = share @ times / total.clamp_min(1e-9)
    order = times.argsort()
    order = order[total[order] > 0]
    rows = centres.view(k, *rows.shape[1:])[order].contiguous()
    return {"rows": rows, "weights": total[order], "times": times[order]}
