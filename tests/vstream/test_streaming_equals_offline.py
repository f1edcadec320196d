"""The main promise: a stream encoded piece by piece equals one forward pass over all of it."""

import pytest
import torch
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from offline import offline_logits

from vstream.engine.prefill import LocalWindow, Prefill
from vstream.engine.retrieval import view_at

TOLERANCE = 1e-5
BLOCKS = 14


@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """The same tiny model twice: behind the hook, and as transformers made it."""
    return tiny_video_llm(request.param)


def difference(ours, theirs):
    return float((ours - theirs).abs().max())


def encode_blocks(model, count):
    frames = stream_frames(count * model.family.frames_per_block)
    size = model.family.frames_per_block
    return model.family.encode([frames[i * size : (i + 1) * size] for i in range(count)])


@torch.inference_mode()
def prefill(model, window, blocks, chunk):
    """Logits of all tokens, and the keys and values of all blocks."""
    stream = Prefill(model.decoder, model.family.prefix(), window)
    logits, kept, done = [], [], 0
    while done < len(blocks):
        size = min(chunk, stream.longest_chunk(), len(blocks) - done)
        layers, hidden = stream.encode(blocks[done : done + size])
        logits.append(model.decoder.logits(hidden))
        kept += layers
        done += size
    return torch.cat(logits), kept


@pytest.mark.parametrize("chunk", [1, 2, 3, 8])
@torch.inference_mode()
def test_streaming_within_the_window_equals_one_plain_forward(pair, chunk):
    model, plain = pair
    blocks = encode_blocks(model, 8)
    ours, _ = prefill(model, LocalWindow(8, 8), blocks, chunk)
    assert difference(ours, offline_logits(plain, model.family.prefix(), blocks)) <= TOLERANCE


@pytest.mark.parametrize(("size", "stride"), [(4, 2), (6, 3), (5, 5), (3, 1)])
@torch.inference_mode()
def test_a_window_that_slid_equals_one_plain_forward_under_the_same_mask(pair, size, stride):
    model, plain = pair
    window = LocalWindow(size, stride)
    blocks = encode_blocks(model, BLOCKS)
    edges = [window.left_edge(n) for n in range(BLOCKS)]
    theirs = offline_logits(plain, model.family.prefix(), blocks, left_edges=edges)
    first, first_kept = prefill(model, window, blocks, 1)
    assert difference(first, theirs) <= TOLERANCE
    for chunk in (2, 3, 8):
        logits, kept = prefill(model, window, blocks, chunk)
        assert difference(logits, theirs) <= TOLERANCE
        for one, other in zip(first_kept, kept, strict=True):
            for (keys, values), (other_keys, other_values) in zip(one, other, strict=True):
                assert difference(keys, other_keys) <= TOLERANCE
                assert difference(values, other_values) <= TOLERANCE


@torch.inference_mode()
def test_retrieving_everything_equals_full_attention(pair):
    model, plain = pair
    session = open_session(
        model, window_frames=0, retrieve_blocks=100, recent_frames=4, codec="exact"
    )
    frames = stream_frames(BLOCKS * model.family.frames_per_block)
    session.push(frames)
    blocks = encode_blocks(model, BLOCKS)
    question = model.family.question("what is on the table?")
    ours = session.questions.run(
        question, view_at(session.memory, None, session.policy.recent_blocks())
    )
    theirs = offline_logits(plain, model.family.prefix(), blocks, question)
    assert difference(ours.logits, theirs[-len(question.embeddings) :]) <= TOLERANCE


@torch.inference_mode()
def test_decoding_equals_asking_again_with_the_longer_prompt(pair):
    model, _ = pair
    session = open_session(model, retrieve_blocks=3, recent_frames=2, codec="exact")
    session.push(stream_frames(BLOCKS * model.family.frames_per_block))
    view = view_at(session.memory, None, session.policy.recent_blocks())
    question = model.family.question("what is on the table?")
    first = session.questions.run(question, view)
    logits, decoder = first.logits, model.decoder
    said = []
    for _ in range(6):
        said.append(logits[-1:].argmax(dim=-1))
        logits = decoder.logits(decoder.forward(decoder.embed(said[-1]), first.context))
        longer = type(question)(
            torch.cat([question.embeddings, decoder.embed(torch.cat(said))]),
            torch.cat([question.is_question, torch.zeros(len(said), dtype=torch.bool)]),
        )
        again = session.questions.run(longer, view, first.retrieved)
        assert difference(logits[-1], again.logits[-1]) <= TOLERANCE


def test_layers_choose_blocks_of_their_own(pair):
    model, _ = pair
    session = open_session(model, retrieve_blocks=3, recent_frames=2, codec="exact")
    session.push(stream_frames(BLOCKS * model.family.frames_per_block))
    view = view_at(session.memory, None, session.policy.recent_blocks())
    retrieved = session.questions.run(model.family.question("what?"), view).retrieved
    assert len({tuple(ids) for ids in retrieved}) > 1, "the test needs layers that disagree"
    for ids in retrieved:
        assert ids == sorted(ids)
        assert len(set(ids) | set(view.recent_ids)) == len(ids) + len(view.recent_ids)
