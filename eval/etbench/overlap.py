"""Overlap: two lists of time spans in, the intersection over union of every pair out."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from eval.etbench.sample import Span

THRESHOLDS = (0.1, 0.3, 0.5, 0.7)


def overlaps(spans: Sequence[Span], others: Sequence[Span]) -> Float[np.ndarray, "spans others"]:
    """In float32, as the official scorer; not a number where both are empty and touch.

    Compared with 0.7 as a Python float, an overlap of seven tenths is too small; compared in
    float32, as tal is, it is enough.
    """
    with np.errstate(all="ignore"):
        a = np.asarray(spans, np.float32)[:, None]
        b = np.asarray(others, np.float32)[None]
        shared = np.minimum(a[..., 1], b[..., 1]) - np.maximum(a[..., 0], b[..., 0])
        shared = np.maximum(shared, np.float32(0))
        lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
        overlap: Float[np.ndarray, "spans others"] = shared / (lengths - shared)
        return overlap


def caption_overlaps(
    spans: Sequence[Span], others: Sequence[Span]
) -> Float[np.ndarray, "spans others"]:
    """In float64 and never not a number: as dvc and slc are scored."""
    with np.errstate(all="ignore"):
        a, b = np.asarray(spans, np.float64)[:, None], np.asarray(others, np.float64)[None]
        start, end = np.maximum(a[..., 0], b[..., 0]), np.minimum(a[..., 1], b[..., 1])
        shared = np.maximum(end - start, 0)
        hull = np.maximum(a[..., 1], b[..., 1]) - np.minimum(a[..., 0], b[..., 0])
        lengths = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0])
        union = np.minimum(hull, lengths)
        overlap: Float[np.ndarray, "spans others"] = shared / (union + 1e-8)
        return np.where(np.isfinite(overlap), overlap, 0.0)
