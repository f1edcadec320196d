"""Cited spans: where the words of an answer looked, whatever way it was decoded and read."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from cited import like, require_sound_spans, told
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from kv_blocks import kv_block, memory_of
from recorded_operations import record_operations

from memory import POLICIES
from vstream.cited_spans import LEAST, NOTICED, cited_spans
from vstream.device.scheduler import Scheduler
from vstream.engine import view_at
from vstream.engine.cuda.decode_rows import DecodeRows
from vstream.engine.cuda.recorded_questions import RecordedQuestions
from vstream.engine.decoder import grouped_attention
from vstream.engine.passes import FastPath, Pass, alone
from vstream.engine.positions import text_positions
from vstream.engine.word_attention import MOST_WORDS, WordAttention, layers_at
from vstream.question import Question

QUICK = {"window_frames": 16, "window_stride": 8, "recent_frames": 4, "retrieve_blocks": 3}
TEXTS = ["what is on the table?", "who?", "how many cups are there now?", "is the dog red"]
BLOCKS = 11
WORDS = 5


@pytest.fixture(params=FAMILIES, scope="module")
def model(request):
    return tiny_video_llm(request.param)[0]


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


def session_of(model, blocks=BLOCKS, **options):
    session = open_session(model, max_answer_tokens=WORDS, **{**QUICK, **options})
    session.push(stream_frames(blocks * model.family.frames_per_block))
    return session


@pytest.fixture(scope="module")
def alone_by_text(model):
    """The answers of one after the other."""
    session = session_of(model)
    return {text: session.ask(text).answer for text in TEXTS}


def test_every_family_cites(alone_by_text):
    for answer in alone_by_text.values():
        require_sound_spans(answer)
        assert [tuple(one.values()) for one in answer.document()["spans"]] == told(answer.spans)


def test_answers_of_one_batch_cite_as_each_alone(model, alone_by_text):
    session = session_of(model)
    with ThreadPoolExecutor(len(TEXTS)) as askers, session.model.turn:
        asked = [askers.submit(session.ask, text) for text in TEXTS]
    for text, one in zip(TEXTS, asked, strict=True):
        assert told(one.result().answer.spans) == like(alone_by_text[text].spans)


@pytest.mark.parametrize("record", [None, record_operations], ids=["run", "replayed"])
def test_answers_decoded_in_rows_cite_as_on_the_plain_path(model, alone_by_text, record):
    rows = DecodeRows(model.decoder, 3, record=record)
    fast = FastPath(rows.decode, RecordedQuestions(model.decoder, record=record).question)
    session = session_of(replace(model, scheduler=Scheduler(model.decoder, fast=fast)))
    with ThreadPoolExecutor(len(TEXTS)) as askers:
        answers = list(askers.map(lambda text: session.ask(text).answer, TEXTS))
    for text, answer in zip(TEXTS, answers, strict=True):
        assert told(answer.spans) == like(alone_by_text[text].spans)


def test_spans_are_those_of_the_moment_however_the_answer_is_read(llama):
    session = session_of(llama)
    at_s = session.memory.newest_s
    whole = session.ask(TEXTS[0]).answer
    session.push(stream_frames(6, start=BLOCKS))
    stream = session.ask(Question(TEXTS[0], at_s))
    assert "".join(stream) == whole.text
    assert told(stream.answer.spans) == like(whole.spans)
    assert told(session.ask(TEXTS[0]).answer.spans) != like(whole.spans)


@pytest.mark.parametrize("name", POLICIES.names())
def test_of_every_policy_spans_are_blocks_that_it_read(llama, name):
    session = open_session(llama, max_answer_tokens=WORDS, policy=name)
    session.push(stream_frames(BLOCKS))
    stream = session.ask(TEXTS[0])
    if stream.recent_ids or any(stream.retrieved):
        require_sound_spans(stream.answer)
    else:  # it reads pictures again, or texts
        assert stream.answer.spans == ()


def test_a_block_gets_what_was_attended_to_it_as_words_were_chosen(model, monkeypatch):
    """Attention whose values say which block a key is of."""
    session, decoder = session_of(model), model.decoder
    [layer] = layers_at((1.0,), decoder.num_layers)
    queries, take = [], WordAttention.take

    def spy(words, of_layer, taken):
        take(words, of_layer, taken)
        queries.extend([taken] * (of_layer == layer))

    monkeypatch.setattr(WordAttention, "take", spy)
    monkeypatch.setattr(session.questions, "_cited_layers", (layer,))
    view = view_at(session.memory, None, session.policy.recent_blocks())
    tokens = model.family.question(TEXTS[0])
    read = alone(decoder, session.questions.work(tokens, view, max_answer_tokens=WORDS))
    context = read.context
    laid = context.laid(layer)
    keys, next_text = laid.keys.clone(), laid.next_text
    for token in (7, 8, 9):
        embedded = decoder.embed(torch.tensor([token]))
        alone(decoder, (one for one in [Pass(embedded, context, num_logits=1)]))
    ids = [*read.retrieved[layer], *context.recent_ids]
    counts = torch.tensor([session.memory.info(i).num_tokens for i in ids])
    is_of = torch.zeros(keys.shape[1], len(ids))
    shown = slice(laid.recent[1] - int(counts.sum()), laid.recent[1])
    is_of[shown] = torch.eye(len(ids)).repeat_interleave(counts, 0)
    for num_words in (1, 3):
        positions = text_positions(next_text - 1, num_words, decoder.num_axes, decoder.device)
        rotated = decoder.rope.rotate(torch.stack(queries[:num_words], dim=1), positions)
        values = is_of.expand(len(keys), -1, -1)
        paid = grouped_attention(rotated, keys, values, 1.0, None).sum(dim=(0, 1))
        wanted = dict(zip(ids, (paid / paid.sum()).tolist(), strict=True))
        assert read.words.by_block(num_words) == pytest.approx(wanted, abs=1e-5)
    assert read.words.by_block(0) == {}


def test_only_the_first_words_of_a_long_answer_are_looked_at(llama):
    llama = replace(llama, family=_without_end(llama.family))
    spans = []
    for count in (MOST_WORDS, MOST_WORDS + 9):
        session = session_of(llama)
        decoding = replace(Question("").decoding, max_tokens=count)
        spans.append(session.ask(Question(TEXTS[0], decoding=decoding)).answer.spans)
    assert told(spans[0]) == like(spans[1])


def _without_end(family):
    family.stop_ids = frozenset()
    return family


def test_layers_are_named_by_how_deep_they_lie():
    assert layers_at((0.0, 0.5, 1.0), 9) == (0, 4, 8)
    assert layers_at((0.5, 0.51), 3) == (1,)
    assert layers_at((1.0,), 1) == (0,)


@settings(max_examples=50)
@given(
    gaps=st.lists(st.sampled_from([1.0, 30.0, 200.0]), min_size=1, max_size=12),
    weights=st.lists(st.integers(0, 9), min_size=12, max_size=12),
    until=st.integers(0, 11),
)
def test_neighbours_that_got_enough_are_one_span(gaps, weights, until):
    """Whatever the stream, against the blocks one by one."""
    ends = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    with memory_of() as memory:
        for seed, end_s in enumerate(ends):
            memory.append(kv_block(end_s=end_s, seed=seed))
        seen = min(until, len(ends) - 1) + 1
        whole = sum(weights[:seen]) or 1
        shares = {i: weight / whole for i, weight in enumerate(weights[:seen])}
        spans = cited_spans(memory, shares, ends[seen - 1])
    least = NOTICED * max(shares.values())
    noticed = [i for i, share in shares.items() if share >= least > 0]
    runs = []
    for i in noticed:
        joins = runs and runs[-1][-1] == i - 1 and ends[i] - 0.5 - ends[i - 1] <= 60
        runs = [*runs[:-1], [*runs[-1], i]] if joins else [*runs, [i]]
    wanted = [
        (ends[run[0]] - 0.5, sum(shares[i] for i in run))
        for run in runs
        if sum(shares[i] for i in run) >= LEAST
    ]
    assert [(one.from_s, pytest.approx(one.share)) for one in spans] == wanted


def test_a_block_that_was_forgotten_meanwhile_is_not_cited():
    with memory_of() as memory:
        for seed in range(6):
            memory.append(kv_block(end_s=float(seed), seed=seed))
        shares = dict.fromkeys(range(6), 1 / 6)
        [whole] = cited_spans(memory, shares, 5.0)
        assert (whole.from_s, whole.to_s, whole.share) == (-0.5, 5.0, pytest.approx(1))
        assert whole.to_at == 1.7e9 + 5
        memory.forget(0.0, 2.0)
        spans = cited_spans(memory, shares, 5.0)
    assert [(one.from_s, one.to_s) for one in spans] == [(2.5, 5.0)]
