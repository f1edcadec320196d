"""On a card the fast paths say what the plain ones say: kernels without a mask, recorded steps."""

from dataclasses import replace

import pytest
import torch
from decode_loop import is_recorded
from engine import open_session, stream_frames
from offline import offline_logits
from tiny_checkpoints import VIDEO_FAMILIES, save_tiny_checkpoint, tiny_model

from encoders import Frame
from eval.stream_benchmark.exam import ExamOptions, draw_exam
from eval.stream_world import Renderer
from memory.rows.row_stage import RowStage
from vstream import Question, load_video_llm
from vstream.device.scheduler import Scheduler
from vstream.engine import LocalWindow, Prefill
from vstream.engine.cuda.decode_rows import DecodeRows
from vstream.engine.cuda.flash_kernels import installed_kernels
from vstream.engine.cuda.recorded_questions import RecordedQuestions
from vstream.engine.cuda.recording import record_graphs
from vstream.engine.decoder import causal_mask, grouped_attention
from vstream.engine.passes import FastPath

pytestmark = pytest.mark.gpu

CARD = torch.device("cuda")
NEAR_TIE = 0.05
"""In half precision an answer may differ first where the two best logits are no further apart."""


@pytest.mark.parametrize("kernel", installed_kernels(), ids=lambda kernel: kernel.name)
@pytest.mark.parametrize(("q_tokens", "k_tokens"), [(1568, 14_000), (32, 15_000), (9, 9)])
def test_every_flash_kernel_attends_as_the_mask_says(kernel, q_tokens, k_tokens):
    torch.manual_seed(0)
    queries = torch.randn(28, q_tokens, 128, device=CARD)
    keys, values = (torch.randn(4, k_tokens, 128, device=CARD) for _ in range(2))
    mask = causal_mask(q_tokens, k_tokens, CARD)
    exact = grouped_attention(queries, keys, values, 0.1, mask)
    half = [one.bfloat16() for one in (queries, keys, values)]
    plain = grouped_attention(*half, 0.1, mask).float() - exact
    fast = kernel.attend(*half, 0.1).float() - exact
    assert fast.abs().max() <= 1.1 * plain.abs().max()


def test_rows_reach_the_card_as_they_are_while_others_are_laid_behind_them():
    stage, torch_rows = RowStage(CARD), torch.randint(256, (28, 64, 205_900), dtype=torch.uint8)
    staged = [stage.stack([row.numpy().tobytes() for row in layer]) for layer in torch_rows]
    for layer, found in zip(torch_rows, staged, strict=True):
        assert torch.equal(found.cpu(), layer)


@pytest.mark.parametrize("codec", ["int8", "int4", "bf16"])
def test_blocks_encoded_beside_the_next_chunk_are_those_encoded_alone(codec, tmp_path):
    model = load_video_llm(str(save_tiny_checkpoint("llava_onevision", tmp_path)), "cuda")
    ahead, alone = (open_session(model, codec=codec, chunk_frames=2) for _ in range(2))
    ahead.push_ahead(stream_frames(64))
    ahead.catch_up()
    for frame in stream_frames(64, seed=0):
        alone.push([frame])
    for layer in range(model.decoder.num_layers):
        found, wanted = (
            torch.cat(one.memory.read(layer, range(64), torch.float32, CARD))
            for one in (ahead, alone)
        )
        # Chunks of other lengths round otherwise; a block of other numbers would be far off.
        torch.testing.assert_close(found, wanted, atol=0.1, rtol=0.1)


@torch.inference_mode()
def test_graphs_with_something_done_between_them_read_the_buffers_as_they_are_then():
    buffer, told = torch.zeros(3, 64, device=CARD), []

    def compute(cut):
        product = buffer @ buffer.T
        cut(lambda: told.append(product[0, 0].item()))
        return product + 1

    def waits(cut):
        return buffer * buffer.sum().item()

    for _ in range(40):  # more than torch has streams
        replay = record_graphs(compute, CARD)
    with pytest.raises(RuntimeError):
        record_graphs(waits, CARD)
    torch.cuda.empty_cache()
    again = record_graphs(compute, CARD)
    for value in (1.0, 2.0):
        buffer.fill_(value)
        for one in (replay, again):
            assert one().eq(64 * value**2 + 1).all()
            assert told.pop() == 64 * value**2


@pytest.mark.parametrize("name", VIDEO_FAMILIES)
@torch.inference_mode()
def test_in_half_precision_a_stream_is_as_near_to_exact_as_transformers_is(name, tmp_path):
    ours = load_video_llm(str(save_tiny_checkpoint(name, tmp_path)), "cuda", "bfloat16")
    size = ours.family.frames_per_block
    frames = stream_frames(8 * size)
    groups = [frames[i * size : (i + 1) * size] for i in range(8)]
    seen = ours.family.encode(groups)
    stream = Prefill(ours.decoder, ours.family.prefix(), LocalWindow(8, 8))
    streamed = ours.decoder.logits(stream.encode(seen)[1]).float().cpu()
    # All begin with the same visual tokens, so that only the decoder's rounding is compared.
    parts = [replace(one, embeddings=one.embeddings.float().cpu()) for one in seen]
    on_cpu = [_on_cpu(one) for one in parts]
    prefix = replace(ours.family.prefix(), embeddings=ours.family.prefix().embeddings.float().cpu())
    exact = offline_logits(tiny_model(name).bfloat16().float(), prefix, on_cpu)
    half_blocks = [replace(one, embeddings=one.embeddings.bfloat16()) for one in on_cpu]
    half_prefix = replace(prefix, embeddings=prefix.embeddings.bfloat16())
    theirs = offline_logits(tiny_model(name).bfloat16(), half_prefix, half_blocks).float()
    assert (streamed - exact).abs().max() <= 1.1 * (theirs - exact).abs().max()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_recorded_answers_a_thousand_questions_as_plain_steps_do(dtype):
    model = load_video_llm(None, "cuda", dtype)
    rows, recorded = DecodeRows(model.decoder), RecordedQuestions(model.decoder)
    plain, fast = (
        replace(model, scheduler=Scheduler(model.decoder, fast=path))
        for path in (None, FastPath(rows.decode, recorded.question))
    )
    renderer, asked, differing = Renderer(), 0, []
    for stream in draw_exam(ExamOptions(5, 600, 3, 1200)):
        sessions = [open_session(one) for one in (plain, fast)]
        frames = [
            Frame(renderer.frame(moment), float(moment.time_s), 0.0)
            for moment in stream.script.moments
        ]
        for session in sessions:
            session.push(frames)
        for drawn in stream.questions:
            question = Question(drawn.question.text, float(drawn.question.asked_s))
            told = [session.ask(question).answer for session in sessions]
            asked += 1
            if told[0].token_ids != told[1].token_ids:
                differing.append(min(one.confidence for one in told))
    assert asked >= 1000
    assert is_recorded(rows)
    assert is_recorded(recorded)
    if dtype == "float32":
        assert not differing
    else:  # two best logits within NEAR_TIE: the better one has at most this probability
        assert all(one <= torch.tensor(NEAR_TIE).sigmoid() for one in differing)


def _on_cpu(block):
    fields = ("positions", "advance", "is_visual", "deepstack")
    moved = {name: getattr(block, name) for name in fields}
    moved = {name: None if one is None else one.cpu() for name, one in moved.items()}
    if moved["deepstack"] is not None:
        moved["deepstack"] = moved["deepstack"].float()
    return replace(block, **moved)
