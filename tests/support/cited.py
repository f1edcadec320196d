"""What must be so of the spans of any answer."""

from itertools import pairwise

import pytest


def require_sound_spans(answer):
    """In stream order and apart, of blocks of its context, with shares of at most all."""
    spans = answer.spans
    assert spans
    assert 0 < sum(span.share for span in spans) <= 1 + 1e-6
    assert all(one.to_s <= other.from_s for one, other in pairwise(spans))
    starts = {one.start_s for one in answer.evidence}
    for span in spans:
        assert span.from_s in starts
        assert span.from_s <= span.to_s <= answer.newest_frame_s
        assert span.from_at <= span.to_at + 1e-6


def like(spans):
    """Equal to those of the same sums in passes of another size, which round otherwise."""
    return [
        (one.from_s, one.to_s, one.from_at, one.to_at, pytest.approx(one.share, abs=1e-4))
        for one in spans
    ]


def told(spans):
    return [tuple(vars(one).values()) for one in spans]
