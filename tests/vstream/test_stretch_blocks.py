"""StretchBlocks says of each part of a stretch what is known of it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vstream.search.stretch_blocks import Covered, StretchBlocks


@given(st.data())
def test_the_parts_of_a_stretch_are_what_one_block_after_the_other_says(data):
    size = data.draw(st.integers(0, 12))
    lasts = data.draw(st.lists(st.integers(0, 3), min_size=2 * size, max_size=2 * size))
    starts, reaches = np.cumsum(lasts, dtype=float).reshape(-1, 2).T
    within = data.draw(st.integers(0, 4)), data.draw(st.integers(4, 40))
    nothing, places = np.zeros(size), st.sets(st.integers(0, max(size - 1, 0)), max_size=size)
    blocks = StretchBlocks(range(size), starts, reaches, reaches, nothing, within, nothing, nothing)
    judged, out, gone = (data.draw(places) for _ in range(3))
    run = data.draw(st.tuples(st.integers(0, 12), st.integers(0, 12)))
    is_out = np.isin(np.arange(size), list(out))
    found = blocks.covered({*judged, -0.5, size - 0.5}, [run], is_out, gone)
    assert found == parts(blocks, {*judged, *range(run[0], run[1] + 1)}, out, gone)


def parts(blocks, judged, out, gone):
    until = []
    for place in blocks.ids:
        kind = "judged" if place in judged else "excluded" if place in out else "open"
        until.append(("gone", blocks.starts[place]))
        until.append(("gone" if place in gone else kind, blocks.reaches[place]))
    at_s, found = blocks.within[0], []
    for kind, until_s in [*until, ("gone", blocks.within[1])]:
        if until_s > at_s:
            if found and found[-1].kind == kind:
                at_s = found.pop().from_s
            found.append(Covered(kind, at_s, until_s))
            at_s = until_s
    return found
