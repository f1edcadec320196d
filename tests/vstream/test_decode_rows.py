"""Decoding in rows equals decoding each answer by itself, whoever joins, pauses and leaves."""

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import pytest
import torch
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_operations import record_operations

from vstream.device.scheduler import Scheduler
from vstream.engine import view_at
from vstream.engine.cuda.decode_rows import DecodeRows
from vstream.engine.cuda.recorded_questions import RecordedQuestions
from vstream.engine.cuda.shared_windows import SharedWindows
from vstream.engine.passes import FastPath, Pass, alone, pass_together

QUICK = {"window_frames": 16, "window_stride": 8, "recent_frames": 4, "retrieve_blocks": 2}
TEXTS = ["what is on the table?", "who?", "how many cups are there now?", "is the dog red"]
ASKED = [*((n, n) for n in range(4)), (0, 1), (1, 0), (2, 0), (3, 0), (3, 1), (3, 2)]
"""Which session is asked which text."""
LONGEST = 5


@pytest.fixture(params=FAMILIES, scope="module")
def model(request):
    return tiny_video_llm(request.param)[0]


@pytest.fixture(scope="module")
def sessions(model):
    """Streams of different lengths."""
    size, opened = model.family.frames_per_block, []
    for number in range(4):
        session = open_session(model, **QUICK)
        session.push(stream_frames((5 + 2 * number) * size, seed=number))
        opened.append(session)
    return opened


def read(model, session, text, room=12):
    """A question that has been prefilled; every call makes a context of its own."""
    view = view_at(session.memory, None, session.policy.recent_blocks())
    work = session.questions.work(model.family.question(text), view, max_answer_tokens=room)
    return alone(model.decoder, work)


@pytest.fixture(scope="module")
def told_alone(model, sessions):
    """By session and text the tokens of an answer, and their logits, decoded alone."""
    return {
        (sessions[n], TEXTS[text]): plain_tokens(model, read(model, sessions[n], TEXTS[text]))
        for n, text in ASKED
    }


def plain_tokens(model, prefilled):
    """Greedy tokens and their logits, decoded alone."""
    tokens, logits = [], [prefilled.logits[-1]]
    for _ in range(LONGEST):
        tokens.append(int(logits[-1].argmax()))
        (step,) = pass_together(model.decoder, [decode(model, prefilled.context, tokens[-1])])
        logits.append(step[0])
    return tokens, logits


def in_rows(model, rows):
    """Decode in rows, and read every question plainly."""
    return FastPath(rows.decode, RecordedQuestions(model.decoder, ()).question)


def decode(model, context, token):
    with torch.inference_mode():
        return Pass(model.decoder.embed(torch.tensor([token])), context, num_logits=1)


@pytest.mark.parametrize("record", [None, record_operations], ids=["run", "replayed"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=examples(2))
def test_rows_say_what_each_answer_says_alone(model, sessions, told_alone, record, seed):
    random = Random(seed)
    rows = DecodeRows(model.decoder, most_rows=4, record=record)
    wanted = {}
    running = {}
    for number in range(6):
        (session, text), (tokens, logits) = random.choice(list(told_alone.items()))
        count = random.randint(1, LONGEST)
        wanted[number] = (read(model, session, text), tokens[:count], logits[: count + 1])
    while wanted or running:
        if wanted and (not running or random.random() < 0.4):
            number = random.choice(list(wanted))
            prefilled, tokens, logits = wanted.pop(number)
            running[number] = [prefilled.context, tokens, logits, 0]
            del prefilled
        stepping = [number for number in running if random.random() < 0.7]
        passes = [decode(model, running[n][0], running[n][1][running[n][3]]) for n in stepping]
        replies = pass_together(model.decoder, passes, in_rows(model, rows)) if passes else []
        for number, reply in zip(stepping, replies, strict=True):
            tokens, logits, done = running[number][1:]
            torch.testing.assert_close(reply[0], logits[done + 1], rtol=1e-4, atol=1e-4)
            running[number][3] = done + 1
            if done + 1 == len(tokens):
                del running[number]
        del passes
    gc.collect()
    assert rows.decode([], torch.empty(0, model.decoder.d_model)) == []
    assert len(rows._rows) == 0


def test_more_answers_than_rows_are_decoded_all_the_same(model, sessions, told_alone):
    rows = DecodeRows(model.decoder, most_rows=2)
    told = [told_alone[sessions[n], TEXTS[n]] for n in range(4)]
    asked = [read(model, sessions[n], TEXTS[n]) for n in range(4)]
    for step in range(3):
        passes = [
            decode(model, one.context, tokens[step])
            for one, (tokens, _) in zip(asked, told, strict=True)
        ]
        replies = pass_together(model.decoder, passes, in_rows(model, rows))
        assert len(rows._rows) == 2
        for reply, (_, logits) in zip(replies, told, strict=True):
            torch.testing.assert_close(reply[0], logits[step + 1], rtol=1e-4, atol=1e-4)


def test_a_longer_answer_makes_all_rows_longer(model, sessions, told_alone):
    rows = DecodeRows(model.decoder)
    short, long = ((sessions[0], TEXTS[1], 4), (sessions[3], TEXTS[2], 600))
    told = [told_alone[one[:2]] for one in (short, long)]
    asked = [read(model, *one) for one in (short, long)]
    for step, number in [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1)]:
        tokens, logits = told[number]
        wanted = decode(model, asked[number].context, tokens[step])
        (reply,) = pass_together(model.decoder, [wanted], in_rows(model, rows))
        torch.testing.assert_close(reply[0], logits[step + 1], rtol=1e-4, atol=1e-4)


def test_who_asks_at_the_same_time_shares_a_window(model, sessions, told_alone):
    rows = DecodeRows(model.decoder)
    asked = [(sessions[n], text) for n, text in [(3, TEXTS[0]), (3, TEXTS[1]), (2, TEXTS[0])]]
    told = [told_alone[one] for one in asked]
    reading = [read(model, *one) for one in asked]
    alike = [reading[0].context, reading[1].context]
    stand_alike = all(
        torch.equal(*(context.laid(layer).shared()[0] for context in alike))
        for layer in range(model.decoder.num_layers)
    )
    for step in range(3):
        passes = [
            decode(model, one.context, tokens[step])
            for one, (tokens, _) in zip(reading, told, strict=True)
        ]
        replies = pass_together(model.decoder, passes, in_rows(model, rows))
        for reply, (_, logits) in zip(replies, told, strict=True):
            torch.testing.assert_close(reply[0], logits[step + 1], rtol=1e-4, atol=1e-4)
    assert len(set(rows._window_of_row) - {None}) == (2 if stand_alike else 3)
    memory = sessions[3].memory
    lengths = {memory.info(block_id).num_tokens for block_id in memory.visible(None)}
    assert stand_alike or len(lengths) > 1  # what was retrieved before them is as long, or not


def test_a_window_whose_blocks_were_encoded_anew_is_another_one(model, sessions):
    windows = SharedWindows(model.decoder)
    context = read(model, sessions[3], TEXTS[0]).context
    layers = [context.laid(layer) for layer in range(model.decoder.num_layers)]
    first = windows.join(context.recent_ids, layers)
    assert windows.join(context.recent_ids, layers) == first
    last = layers[-1]
    keys, values = last.buffers[0], last.buffers[1].clone()
    values[:, last.recent[0]] += 1e-3
    anew = [*layers[:-1], replace(last, buffers=(keys, values))]
    second = windows.join(context.recent_ids, anew)
    assert second != first
    windows.leave(first)
    windows.leave(first)
    elsewhere = windows.join((*context.recent_ids[1:], 99), layers)
    assert elsewhere == first  # nobody needed it any more


def test_windows_beyond_the_most_are_kept_by_each_row(model, sessions, told_alone, monkeypatch):
    monkeypatch.setattr("vstream.engine.cuda.shared_windows.MOST_WINDOWS", 1)
    rows = DecodeRows(model.decoder)
    asked = [(sessions[n], TEXTS[0]) for n in (1, 3, 2)]
    told = [told_alone[one] for one in asked]
    reading = [read(model, *one) for one in asked]
    passes = [
        decode(model, one.context, tokens[0])
        for one, (tokens, _) in zip(reading, told, strict=True)
    ]
    for reply, (_, logits) in zip(
        pass_together(model.decoder, passes, in_rows(model, rows)), told, strict=True
    ):
        torch.testing.assert_close(reply[0], logits[1], rtol=1e-4, atol=1e-4)
    assert len(set(rows._window_of_row) - {None}) == 1


@pytest.mark.parametrize("full", ["row_buffers.RowBuffers", "shared_windows.SharedWindows._grow"])
def test_without_memory_for_more_answers_are_as_right(
    model, sessions, told_alone, monkeypatch, full
):
    """The third and all later ones find a full device, unless they need no more than there is."""
    rows = DecodeRows(model.decoder)
    asked = [(sessions[n % 4], TEXTS[n % 4], 12 if n < 4 else 700) for n in range(6)]
    told = [told_alone[one[:2]] for one in asked]
    reading = [read(model, *one) for one in asked]

    def step(numbers, at):
        passes = [decode(model, reading[n].context, told[n][0][at]) for n in numbers]
        for n, reply in zip(
            numbers, pass_together(model.decoder, passes, in_rows(model, rows)), strict=True
        ):
            torch.testing.assert_close(reply[0], told[n][1][at + 1], rtol=1e-4, atol=1e-4)

    step([0, 1], 0)

    def no_memory(*arguments):
        raise torch.OutOfMemoryError("full")

    where, _, what = full.partition(".")
    with monkeypatch.context() as patch:
        place = "decode_rows.RowBuffers" if what == "RowBuffers" else f"{where}.{what}"
        patch.setattr(f"vstream.engine.cuda.{place}", no_memory)
        step([2, 3], 0)
    reading[2] = reading[3] = None
    gc.collect()
    step([4, 5], 0)
    step([0, 1, 4, 5], 1)


def test_a_scheduler_with_rows_gives_the_same_answers(model):
    fast_path = in_rows(model, DecodeRows(model.decoder, 3))
    fast = replace(model, scheduler=Scheduler(model.decoder, fast=fast_path))
    answers = []
    for one in (model, fast):
        session = open_session(one, **QUICK, max_answer_tokens=6)
        session.push(stream_frames(8 * one.family.frames_per_block, seed=5))

        def ask(text, session=session):
            return session.ask(text).answer

        with ThreadPoolExecutor(len(TEXTS)) as askers:
            answers.append([answer.token_ids for answer in askers.map(ask, TEXTS)])
    assert answers[0] == answers[1]
    assert all(answers[0])
