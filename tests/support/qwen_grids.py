"""Qwen-VL's grids as transformers has them: their patches and their rotary positions."""

from itertools import product

import torch
from token_ids import ids_of


def patches_of(pixels, patch):
    """Patch by patch, as the tower reads them: grid, then 2 x 2 groups in reading order."""
    side = pixels.shape[-1] // patch
    patches = []
    for pair_of_frames in pixels.split(2):
        cut = pair_of_frames.transpose(0, 1).unfold(2, patch, patch).unfold(3, patch, patch)
        for row, column in product(range(0, side, 2), repeat=2):
            for down, right in product(range(2), repeat=2):
                patches.append(cut[:, :, row + down, column + right].flatten())
    return torch.stack(patches), torch.tensor([[len(pixels) // 2, side, side]])


def laid_out(family, blocks):
    """Positions of [prefix | blocks] by the families' own account."""
    width = len(family.prefix().embeddings)
    base = torch.full((3,), width)
    parts = [torch.arange(width).expand(3, -1)]
    for block in blocks:
        parts.append(base[:, None] + block.positions)
        base = base + block.advance
    return torch.cat(parts, dim=1), base


def rope_index(model, family, blocks, question, **more):
    """Positions that transformers gives to the same prompt."""
    ids, kinds = ids_of(model, family.prefix().embeddings), []
    for block in blocks:
        ids += ids_of(model, block.embeddings)
    kinds = [2 if i < 0 else 0 for i in ids]
    ids = [model.config.video_token_id if i < 0 else i for i in ids]
    after = ids_of(model, family.question(question).embeddings)
    positions, _ = model.model.get_rope_index(
        torch.tensor([ids + after]), torch.tensor([kinds + [0] * len(after)]), **more
    )
    return positions[:, 0], len(ids)
