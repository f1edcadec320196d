"""Frames of noise, and how a family takes them."""

import numpy as np

from encoders import Frame


def frames_of(count, size=(48, 64), start_s=0.0, step_s=1.0):
    random = np.random.default_rng([count, *size])
    pictures = random.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [Frame(p, start_s + i * step_s, 0.0) for i, p in enumerate(pictures)]


def groups_of(family, frames):
    size = family.frames_per_block
    return [frames[i : i + size] for i in range(0, len(frames), size)]
