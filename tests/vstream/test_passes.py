import pytest
import torch
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm

from vstream.engine import view_at
from vstream.engine.passes import Pass, Vision, alone, pass_together, see_together

QUICK = {"window_frames": 16, "window_stride": 8, "recent_frames": 4, "retrieve_blocks": 2}


@pytest.fixture(params=FAMILIES, scope="module")
def model(request):
    return tiny_video_llm(request.param)[0]


def _begun(model, seed, blocks, engine):
    session = open_session(model, **engine)
    session.push(stream_frames(blocks * model.family.frames_per_block, seed=seed))
    return session


def _chunk(model, seed, blocks, engine=QUICK):
    """The next chunk of a stream of its own: it can be encoded once."""
    size = model.family.frames_per_block
    session = _begun(model, seed, 4, engine)
    frames = stream_frames(blocks * size, start=4 * size, seed=seed)
    groups = [frames[i * size : (i + 1) * size] for i in range(blocks)]
    return session.prefill.work(model.family.encode(groups))


def _streams(model, engine=QUICK):
    """Two that are asked about, which changes neither."""
    return [_begun(model, seed, 12, engine) for seed in (3, 4)]


@pytest.fixture(scope="module")
def streams(model):
    return _streams(model)


def _questions(streams):
    """One for each stream: made at each call."""
    works = []
    for session, text in zip(streams, ("what is on the table?", "who?"), strict=True):
        view = view_at(session.memory, None, session.policy.recent_blocks())
        question = session.model.family.question(text)
        works.append(session.questions.work(question, view, num_logits=2))
    return works


def _end(work, reply):
    with pytest.raises(StopIteration) as end:
        work.send(reply)
    return end.value.value


def test_streams_questions_and_decode_steps_share_a_pass_without_noticing(model, streams):
    decoder = model.decoder
    kv, hidden = alone(decoder, _chunk(model, seed=1, blocks=3))
    asked, other = _questions(streams)
    question, answered = alone(decoder, asked), alone(decoder, other)
    token = question.logits[-1:].argmax(dim=-1)
    decode = Pass(decoder.embed(token), question.context, num_logits=1)
    (decoded,) = pass_together(decoder, [decode])

    first, second = _chunk(model, seed=1, blocks=3), _chunk(model, seed=2, blocks=1)
    asked, other = _questions(streams)
    again = alone(decoder, asked)
    again_decode = Pass(decoder.embed(token), again.context, num_logits=1)
    with torch.inference_mode():
        wanted = [next(first), again_decode, next(other), next(second)]
    replies = pass_together(decoder, wanted)
    with torch.inference_mode():
        shared_kv, shared_hidden = _end(first, replies[0])
        shared_answered = _end(other, replies[2])
    torch.testing.assert_close(replies[1], decoded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared_hidden, hidden, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared_answered.logits, answered.logits, rtol=1e-4, atol=1e-4)
    assert shared_answered.retrieved == answered.retrieved
    for block, shared in zip(kv, shared_kv, strict=True):
        for (keys, values), (shared_keys, shared_values) in zip(block, shared, strict=True):
            torch.testing.assert_close(shared_keys, keys, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(shared_values, values, rtol=1e-4, atol=1e-4)


def test_frames_of_several_streams_are_seen_in_one_pass_of_the_tower(model, monkeypatch):
    size, calls, encode = model.family.frames_per_block, [], model.family.encode

    def counted(groups):
        calls.append(len(groups))
        return encode(groups)

    wanted = [Vision(model.family, [stream_frames(size, seed=seed)]) for seed in range(3)]
    single = [encode(one.groups)[0] for one in wanted]
    monkeypatch.setattr(model.family, "encode", counted)
    seen = see_together(wanted)
    assert calls == [3]
    for tokens, own in zip(seen, single, strict=True):
        torch.testing.assert_close(tokens[0].embeddings, own.embeddings, rtol=1e-4, atol=1e-4)


class _Failing:
    """A step that fails in the second layer."""

    def attend(self, layer, queries, keys, values, scale):
        if layer == 1:
            raise OSError("the disk is gone")
        return torch.zeros_like(queries)


def test_a_step_that_fails_fails_alone(model, streams):
    decoder = model.decoder
    wanted = alone(decoder, _questions(streams)[0]).logits
    with torch.inference_mode():
        whole = next(_questions(streams)[0])
    broken = Pass(whole.embeddings, _Failing())
    replies = pass_together(decoder, [broken, whole, broken])
    assert isinstance(replies[0], OSError)
    assert isinstance(replies[2], OSError)
    torch.testing.assert_close(replies[1], wanted, rtol=1e-4, atol=1e-4)


def test_frames_that_cannot_be_seen_fail_alone(model):
    size = model.family.frames_per_block
    good = Vision(model.family, [stream_frames(size)])
    bad = Vision(model.family, [[None] * size])
    seen, failed = see_together([good, bad])
    assert isinstance(failed, Exception)
    wanted = model.family.encode(good.groups)[0].embeddings
    torch.testing.assert_close(seen[0].embeddings, wanted)


REKV = QUICK | {"rekv_window_tokens": 20, "recent_frames": 0}
INFLLM = {"policy": "infllm", "window_frames": 2, "retrieve_blocks": 2}
BOUNDS = {torch.float32: 1e-5, torch.bfloat16: 0.02}
"""How far logits may be from those decoded alone, as a part of the largest."""


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, QUICK) for name in FAMILIES),
        *((name, REKV) for name in FAMILIES),
        ("llama", INFLLM),
    ],
    ids=[*FAMILIES, *(f"{name}-rekv" for name in FAMILIES), "llama-infllm"],
)
def test_decoding_gives_the_same_beside_a_chunk_and_answers_that_come_and_go(name, dtype, engine):
    """In float32 the same tokens; half precision rounds a batch otherwise than a row by itself."""
    model, _ = tiny_video_llm(name, dtype)
    decoder = model.decoder
    streams = _streams(model, engine)
    answers = [
        _decoded_alone(decoder, alone(decoder, work), STEPS // (1 + i))
        for i, work in enumerate(_questions(streams))
    ]

    chunk = _chunk(model, seed=1, blocks=3, engine=engine)
    with torch.inference_mode():
        beside = [next(chunk)]
    contexts = [alone(decoder, work).context for work in _questions(streams)]
    worst = 0.0
    for step in range(STEPS):
        running = range(len(contexts)) if step % 2 else [0]
        wanted = [
            Pass(decoder.embed(answers[i][step // (1 + i)][0]), contexts[i], num_logits=1)
            for i in running
        ]
        replies = pass_together(decoder, [*wanted, *beside])
        beside = []
        for i, reply in zip(running, replies, strict=False):
            _, logits = answers[i][step // (1 + i)]
            assert dtype != torch.float32 or reply.argmax() == logits.argmax()
            worst = max(worst, float((reply - logits).abs().max() / logits.abs().max()))
    assert worst <= BOUNDS[dtype]


STEPS = 6


def _decoded_alone(decoder, question, count):
    """For each step the token that was put in, and the logits after it."""
    steps, logits = [], question.logits[-1:]
    for _ in range(count):
        token = logits.argmax(dim=-1)
        wanted = Pass(decoder.embed(token), question.context, num_logits=1)
        (logits,) = pass_together(decoder, [wanted])
        steps.append((token, logits))
    return steps
