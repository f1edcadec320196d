"""What a session promises: asking changes nothing, later frames change nothing, stores agree."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from engine import (
    FAMILIES,
    all_logits,
    answer_of,
    open_session,
    policy_and_config,
    stream_frames,
    tiny_video_llm,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import Turn
from memory import PolicyError, StoreError
from vstream.errors import QuestionError
from vstream.question import UNSURE, Question
from vstream.session import Session

QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
RETRIEVALS = ("per_layer", "global", "two_pass")
BLOCKS = 13
OVER_BUDGET = 400
"""More than a mebibyte holds: from 155 on blocks become coarser, from 245 on some go."""


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_video_llm(request.param)[0]


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


@pytest.fixture(scope="module")
def watched(model):
    """A session that saw BLOCKS: asking, of it or of one beside it, does not change it."""
    session = open_session(model, max_answer_tokens=6, **QUICK)
    session.push(frames_of(model, BLOCKS))
    return session


def frames_of(model, blocks):
    return stream_frames(blocks * model.family.frames_per_block)


def beside(session, **engine):
    """Another session over the same memory, to ask under other settings."""
    return Session(session.model, session.memory, *policy_and_config(session.model, **engine))


def test_later_frames_never_change_an_earlier_answer(model):
    session = open_session(model, **QUICK)
    frames = frames_of(model, BLOCKS)
    half = (BLOCKS - 4) * model.family.frames_per_block
    session.push(frames[:half])
    at_s = frames[half - 1].stream_s
    earlier = Question("what is on the table?", at_s)
    asked = [beside(session, retrieval=one, max_answer_tokens=4, **QUICK) for one in RETRIEVALS]
    before = [answer_of(one, earlier) for one in asked]
    session.push(frames[half:])
    assert [answer_of(one, earlier) for one in asked] == before
    for one, was in zip(asked, before, strict=True):
        assert answer_of(one, "what is on the table?") != was


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    asked=st.integers(0, 12),
    retrieve=st.integers(0, 6),
)
def test_an_answer_depends_on_its_time_alone(llama, cuts, asked, retrieve):
    options = {**QUICK, "retrieve_blocks": retrieve, "max_answer_tokens": 2}
    whole = open_session(llama, **options)
    whole.push(stream_frames(asked + 1))
    expected = answer_of(whole, "where is it?")
    pieces = open_session(llama, **options)
    frames = stream_frames(BLOCKS)
    done = 0
    for cut in [*cuts, BLOCKS]:
        pieces.push(frames[done : done + cut])
        done += cut
        if done > asked:
            ids, evidence = answer_of(pieces, Question("where is it?", float(asked)))
            assert ids == expected[0]
            # The same sums in calls of another size round differently.
            assert np.allclose(np.array(evidence), np.array(expected[1]), atol=1e-5)


def test_evidence_is_every_block_of_the_context_best_first(model, watched):
    session = watched
    answer = session.ask("what is on the table?").answer
    scores = [e.score for e in answer.evidence]
    assert scores == sorted(scores, reverse=True)
    assert all(-1.001 <= score <= 1.001 for score in scores)
    recent = {BLOCKS - 1 - i for i in range(session.policy.recent_blocks())}
    found = {e.block_id: e for e in answer.evidence}
    assert recent <= set(found)
    assert all(found[i].num_layers == model.decoder.num_layers for i in recent)
    assert len(found) == len(answer.evidence)
    assert all(e.thumbnail[:2] == b"\xff\xd8" for e in answer.evidence), "each has a JPEG"
    layers = model.decoder.num_layers
    retrieved = sum(e.num_layers for e in answer.evidence if e.block_id not in recent)
    assert retrieved == layers * session.policy.retrieve_blocks()


def test_global_retrieval_gives_every_layer_the_same_blocks(model, watched):
    session = beside(watched, retrieval="global", max_answer_tokens=2, **QUICK)
    answer = session.ask("what is on the table?").answer
    assert {e.num_layers for e in answer.evidence} == {model.decoder.num_layers}
    assert len(answer.evidence) == session.policy.retrieve_blocks() + session.policy.recent_blocks()


def digest(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_asking_leaves_the_store_byte_identical(llama, tmp_path):
    options = {"store": f"file://{tmp_path}", "max_answer_tokens": 4, **QUICK}
    with open_session(llama, **options) as session:
        session.push(stream_frames(BLOCKS))
        session.memory.flush()
        before = digest(tmp_path)
        assert before
        for text in ("what?", "where is it?"):
            _ = session.ask(text).answer
        session.memory.flush()
        assert digest(tmp_path) == before


@pytest.fixture(scope="module")
def in_ram(model, watched):
    """By codec a session that saw BLOCKS."""
    sessions = {"int8": watched}
    for codec in ("exact", "int4", "bf16"):
        sessions[codec] = open_session(model, codec=codec, **QUICK)
        sessions[codec].push(frames_of(model, BLOCKS))
    return sessions


@pytest.mark.parametrize("codec", ["exact", "int8", "int4", "bf16"])
def test_a_reloaded_memory_answers_like_the_kept_one(model, in_ram, tmp_path, codec):
    options = {"store": f"file://{tmp_path}", "codec": codec, "max_answer_tokens": 4, **QUICK}
    with open_session(model, **options) as kept:
        kept.push(frames_of(model, BLOCKS))
        expected = answer_of(kept, "what is on the table?")
        logits = all_logits(kept, "what is on the table?")
    with open_session(model, **options) as reloaded:
        assert answer_of(reloaded, "what is on the table?") == expected
        assert torch.equal(all_logits(reloaded, "what is on the table?"), logits)
    other = beside(in_ram[codec], max_answer_tokens=4, **QUICK)
    assert answer_of(other, "what is on the table?") == expected


def test_a_stream_that_was_reloaded_goes_on_as_if_never_stopped(model, in_ram, tmp_path):
    frames = frames_of(model, BLOCKS)
    half = 7 * model.family.frames_per_block
    whole = in_ram["exact"]
    store = f"file://{tmp_path}"
    with open_session(model, store=store, codec="exact", **QUICK) as first:
        first.push(frames[:half])
    with open_session(model, store=store, codec="exact", **QUICK) as second:
        second.push(frames[half:])
        difference = all_logits(second, "what?") - all_logits(whole, "what?")
        assert float(difference.abs().max()) <= 1e-5


def test_int8_stays_close_to_exact(in_ram):
    results = {}
    for codec in ("exact", "int8", "int4"):
        session = beside(in_ram[codec], **{**QUICK, "retrieve_blocks": 100})
        results[codec] = all_logits(session, "what is on the table?").log_softmax(dim=-1)

    def divergence(codec):
        exact = results["exact"]
        return float((exact.exp() * (exact - results[codec])).sum(dim=-1).mean())

    assert divergence("int8") < 2e-6, "a tenth of what was measured on larger models"
    assert divergence("int8") < divergence("int4") / 5


def test_a_half_filled_grid_is_not_visible():
    model = tiny_video_llm("qwen2_5_vl")[0]
    session = open_session(model, max_answer_tokens=2, **QUICK)
    session.push(stream_frames(5))
    answer = session.ask("what?").answer
    assert answer.newest_frame_s == 3.0
    session.push(stream_frames(1, start=5))
    assert session.ask("what?").answer.newest_frame_s == 5.0


def test_a_dialogue_goes_with_the_question_and_not_into_the_memory(model):
    session = open_session(model, max_answer_tokens=4, **QUICK)
    session.push(frames_of(model, 6))
    alone = answer_of(session, "and where?")
    turn = Turn("what is on the table?", "a red cup")
    follow_up = answer_of(session, Question("and where?", dialogue=(turn,)))
    assert (follow_up != alone) == model.family.recommended.reads_dialogue
    assert session.memory.num_blocks == 6
    assert answer_of(session, "and where?") == alone


@pytest.fixture(scope="module")
def over_budget(llama):
    session = open_session(llama, host_bytes=1 << 20, codec="exact", **QUICK)
    session.push(stream_frames(OVER_BUDGET))
    return session


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_after_thinning_blocks_only_kept_ones_are_retrieved(over_budget, retrieval):
    session = beside(over_budget, **QUICK, retrieval=retrieval, max_answer_tokens=2)
    kept = session.memory.visible(None)
    assert len(kept) < OVER_BUDGET
    evidence = session.ask("what is on the table?").answer.evidence
    recent = session.policy.recent_blocks()
    assert {e.block_id for e in evidence} <= set(kept)
    assert len(evidence) >= QUICK["retrieve_blocks"] + recent
    assert all(-1.001 <= e.score <= 1.001 for e in evidence)


def test_a_push_that_fails_leaves_a_session_that_goes_on(llama, monkeypatch):
    session = open_session(llama, codec="exact", **QUICK)
    session.push(stream_frames(4))
    take, calls = session.memory.take, []

    def fail_once(block):
        calls.append(block)
        if len(calls) == 3:
            raise StoreError("disk full")
        return take(block)

    monkeypatch.setattr(session.memory, "take", fail_once)
    with pytest.raises(StoreError, match="disk full"):
        session.push(stream_frames(6, start=4))
    held = session.memory.num_blocks
    assert held in (4, 5, 6)
    session.push(stream_frames(5, start=held))
    whole = open_session(llama, codec="exact", **QUICK)
    whole.push(stream_frames(held + 5))
    difference = all_logits(session, "what?") - all_logits(whole, "what?")
    assert float(difference.abs().max()) <= 1e-5


@pytest.mark.parametrize("family", ["llama", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("window_tokens", [41, 4000])
def test_rekv_mode_resumes_where_it_stopped(family, window_tokens, tmp_path):
    model = tiny_video_llm(family)[0]
    frames = BLOCKS * model.family.frames_per_block
    options = {"rekv_window_tokens": window_tokens, "retrieve_blocks": 4, "codec": "exact"}
    options["max_answer_tokens"] = 4
    whole = open_session(model, **options)
    whole.push(stream_frames(frames))
    with open_session(model, store=f"file://{tmp_path}", **options) as first:
        first.push(stream_frames(8))
    with open_session(model, store=f"file://{tmp_path}", **options) as second:
        second.push(stream_frames(frames - 8, start=8))
        difference = all_logits(second, "what?") - all_logits(whole, "what?")
        assert float(difference.abs().max()) <= 1e-5
        evidence = second.ask("what is on the table?").answer.evidence
        assert len({e.block_id for e in evidence}) >= 4


@pytest.mark.parametrize(
    "settings",
    [
        {"recent_frames": 0, "retrieve_blocks": 0},
        {"retrieve_runs_of": 8, "retrieve_blocks": 4},
        {"retrieve_runs_of": 2, "retrieval": "global"},
        {"rekv_window_tokens": 50, "retrieve_blocks": 0},
    ],
)
def test_settings_under_which_nothing_could_be_seen_are_refused(llama, settings):
    with pytest.raises(PolicyError):
        open_session(llama, **settings)


def test_a_memory_over_its_budget_is_coarser_and_sparser_and_still_answers(over_budget):
    options = {**QUICK, "retrieve_blocks": 1000, "max_answer_tokens": 4}
    session = beside(over_budget, **options)
    stats = session.memory.stats()
    assert stats.ageing.coarsened > 0
    assert stats.dropped == stats.ageing.thinned > 0
    assert stats.bytes_by_tier["host"] <= 1 << 20
    answer = session.ask("what is on the table?").answer
    assert {e.block_id for e in answer.evidence} == set(session.memory.visible(None))
    assert answer.newest_frame_s == OVER_BUDGET - 1
    assert all(-1.001 <= e.score <= 1.001 for e in answer.evidence)


def test_what_was_forgotten_is_not_answered_from_and_the_stream_goes_on(llama):
    session = open_session(llama, codec="exact", max_answer_tokens=2, **QUICK)
    session.push(stream_frames(BLOCKS))
    assert session.forget(0.0, 3.0) == 4
    with pytest.raises(QuestionError, match="no longer kept"):
        session.ask(Question("what is on the table?", at_s=2.0))
    evidence = session.ask("what is on the table?").answer.evidence
    assert min(e.block_id for e in evidence) >= 4
    session.push(stream_frames(5, start=BLOCKS))
    assert session.memory.visible(None) == list(range(4, BLOCKS + 5))


def test_the_newest_blocks_can_be_forgotten_too(llama):
    session = open_session(llama, codec="exact", max_answer_tokens=2, **QUICK)
    session.push(stream_frames(BLOCKS))
    session.forget(BLOCKS - 2, BLOCKS)
    session.push(stream_frames(6, start=BLOCKS))
    kept = [*range(BLOCKS - 2), *range(BLOCKS, BLOCKS + 6)]
    assert session.memory.visible(None) == kept
    assert session.ask("what?").answer.newest_frame_s == BLOCKS + 5


def test_questions_that_cannot_be_answered_say_why(llama):
    session = open_session(llama, **QUICK)
    with pytest.raises(QuestionError, match="no frame has been seen"):
        session.ask("what?")
    session.push(stream_frames(3, start=5))
    with pytest.raises(QuestionError, match="no frame had been seen at 2 s"):
        session.ask(Question("what?", at_s=2.0))
    with pytest.raises(QuestionError, match="empty"):
        session.ask("  \n")
    with pytest.raises(QuestionError, match="too long"):
        session.ask("w" * llama.decoder.max_positions)


def test_the_confidence_is_the_probability_of_the_least_probable_token(watched):
    session = beside(watched, max_answer_tokens=1, **QUICK)
    for question in ("what?", "and where is it?"):
        answer = session.ask(question).answer
        probable = all_logits(session, question)[-1].float().softmax(dim=-1).max()
        assert answer.confidence == pytest.approx(float(probable), abs=1e-6)
        assert answer.is_unsure == (answer.confidence < UNSURE)
    assert watched.ask(question).answer.confidence <= answer.confidence + 1e-6


def test_an_answer_at_its_limit_says_so(llama):
    session = open_session(llama, max_answer_tokens=3, **QUICK)
    session.push(stream_frames(4))
    stream = session.ask("what?")
    assert "".join(stream)
    assert stream.answer.truncated == (len(stream.answer.token_ids) == 3)


@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_a_question_about_a_stretch_is_asked_of_that_stretch_alone(llama, retrieval):
    options = {**QUICK, "retrieval": retrieval, "retrieve_blocks": 4, "max_answer_tokens": 6}
    session = open_session(llama, **options)
    session.push(stream_frames(20))
    stretch = Question("what was on the table?", 14.0, from_s=5.0)
    answer = session.ask(stretch).answer
    assert {e.block_id for e in answer.evidence} <= set(range(5, 15))
    assert answer.newest_frame_s == 14.0
    before = answer_of(session, stretch)
    session.push(stream_frames(5, start=20))
    assert answer_of(session, stretch) == before
    with llama.turn:
        session.memory.forget(0.0, 4.0)  # the stretch does not depend on what came before it
    assert answer_of(session, stretch) == before
    everything = Question("what was on the table?", 14.0, from_s=-1.0)
    assert answer_of(session, everything) == answer_of(session, Question(everything.text, 14.0))


def test_a_stretch_without_a_frame_is_refused_with_what_there_is(llama):
    session = open_session(llama, **QUICK)
    session.push(stream_frames(4))
    with pytest.raises(QuestionError, match="from 7 s to 9 s: the memory holds the stream from 0"):
        session.ask(Question("what?", 9.0, from_s=7.0))


def test_what_was_forgotten_before_it_failed_is_not_seen_by_frames_to_come(llama, monkeypatch):
    session = open_session(llama, window_frames=8, window_stride=4)
    session.push(stream_frames(10))
    forget = session.memory.forget

    def fail_midway(from_s, to_s):
        forget(from_s, 6)
        raise StoreError("the disk is gone")

    monkeypatch.setattr(session.memory, "forget", fail_midway)
    with pytest.raises(StoreError):
        session.forget(0, 8)
    window = [block.id for block in session.prefill._blocks]
    assert window == session.memory.visible(None) == [7, 8, 9]
