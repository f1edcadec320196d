import pytest
import torch
from engine import stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st

from vstream.engine import LocalWindow, Prefill


@pytest.mark.parametrize(
    ("size", "stride", "left_edges"),
    [
        (4, 2, [0, 0, 0, 0, 2, 2, 4, 4, 6, 6]),
        (5, 2, [0, 0, 0, 0, 1, 1, 3, 3, 5, 5]),
        (3, 1, [0, 0, 0, 1, 2, 3, 4, 5, 6, 7]),
        (4, 4, [0, 0, 0, 0, 4, 4, 4, 4, 8, 8]),
        (0, 1, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_the_left_edge_moves_in_steps(size, stride, left_edges):
    window = LocalWindow(size, stride)
    assert [window.left_edge(n) for n in range(10)] == left_edges


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 500))
def test_a_block_sees_at_most_the_window_and_its_chunk_sees_the_same(size, stride, block):
    stride = min(size, stride)
    window = LocalWindow(size, stride)
    left = window.left_edge(block)
    assert 0 <= left <= block
    assert block - left < size
    chunk = range(block, block + window.until_step(block))
    assert {window.left_edge(n) for n in chunk} == {left}
    assert window.left_edge(chunk[-1] + 1) >= left


@pytest.mark.parametrize(("size", "stride"), [(4, 5), (4, 0)])
def test_a_stride_that_does_not_fit_the_window_is_refused(size, stride):
    with pytest.raises(ValueError, match="window_stride"):
        LocalWindow(size, stride)


def test_a_chunk_across_a_step_is_refused():
    model = tiny_video_llm("llama")[0]
    prefill = Prefill(model.decoder, model.family.prefix(), LocalWindow(4, 2))
    blocks = model.family.encode([[frame] for frame in stream_frames(3)])
    with pytest.raises(ValueError, match="crosses a step"), torch.inference_mode():
        prefill.encode(blocks)
