"""What transformers makes of a whole video at once, to compare blocks with."""

import numpy as np
import torch
from tiny_models import family_case


def visual(blocks):
    """The visual tokens of all blocks."""
    return torch.cat([block.embeddings[block.is_visual] for block in blocks])


def pixels_of(name, frames):
    """Normalised as the family's tower wants them; not resized."""
    case = family_case(name)
    levels = torch.from_numpy(np.stack([f.pixels for f in frames])).permute(0, 3, 1, 2) / 255
    return (levels - torch.tensor(case.mean)[:, None, None]) / torch.tensor(case.std)[:, None, None]


@torch.no_grad()
def features_of_whole_video(name, model, frames):
    """What transformers computes in one call."""
    return family_case(name).whole_video(model, pixels_of(name, frames))
