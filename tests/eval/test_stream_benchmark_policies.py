"""What the policies of the stream-world benchmark show a question, and what the baselines say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from engine import open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from tiny_benchmark import TINY, TinyBenchmark

from eval.stream_benchmark.answerer import (
    CaptionAnswerer,
    FewFramesAnswerer,
    LanguageAnswerer,
    MemoryAnswerer,
)
from eval.stream_benchmark.block_choice import (
    BlockTimes,
    evidence_blocks,
    recall_by_layer,
    spread_to_the_ends,
)
from eval.stream_benchmark.caption_memory import Caption, CaptionMemory
from eval.stream_benchmark.evidence_memory import EvidenceMemory
from eval.stream_benchmark.exam import (
    ASKED_FROM_S,
    ExamOptions,
    draw_exam,
    majority_texts,
)
from eval.stream_benchmark.policy import parse_policies, parse_policy, require_fit
from eval.stream_world import KINDS, Question, Span
from eval.stream_world.present import PRESENT
from eval.stream_world.vocabulary import HELD_OUT_STYLE, emoji_names
from memory.policies.uniform import spread
from vstream import Question as TimedQuestion
from vstream import SettingsError, load_video_llm
from vstream.answer import QueryHandler
from vstream.engine import MemoryView

spans = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 12)).map(lambda s: Span(s[0], s[0] + s[1])),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    policies = "default,window,sinks,last4,frames,uniform,rekv,full,oracle,default+drop"
    return TinyBenchmark(tmp_path_factory.mktemp("run"), policies).run()


def test_a_policy_is_a_base_with_suffixes_in_any_order():
    assert parse_policy("default+drop+int4") == parse_policy("default+int4+drop").__class__(
        "default+drop+int4", "default", "int4", has_drop=True
    )
    assert [policy.codec for policy in parse_policies("full,window+bf16")] == ["int8", "bf16"]


@pytest.mark.parametrize(
    "name", ["", "best", "default+fp4", "default+int4+bf16", "default+drop+drop", "rekv+drop"]
)
def test_what_is_no_policy_is_refused_with_its_name(name):
    with pytest.raises(SettingsError, match="policy: "):
        parse_policies(f"window,{name}")


def test_a_policy_named_twice_is_refused():
    with pytest.raises(SettingsError, match="twice"):
        parse_policies("window,default,window")


def test_window_and_uniform_see_as_many_blocks_as_default(played):
    stream = played.exam[0]
    sizes = {}
    for name in ("default", "window", "sinks", "uniform", "rekv"):
        with played.blocks.open(stream, parse_policy(name)) as session:
            sizes[name] = session.policy.recent_blocks() + session.policy.retrieve_blocks()
    assert len(set(sizes.values())) == 1
    with played.blocks.open(stream, parse_policy("window")) as session:
        seen = session.ask(TimedQuestion("where?", 39.0)).answer.evidence
        assert sorted(e.block_id for e in seen) == list(range(40 - sizes["default"], 40))
    with played.blocks.open(stream, parse_policy("full")) as session:
        seen = session.ask(TimedQuestion("where?", 39.0)).answer.evidence
        assert sorted(e.block_id for e in seen) == list(range(40))
        assert session.encoding.window_blocks == 0


def test_oracle_and_full_have_all_the_evidence_and_last4_that_of_four_frames(played):
    recalls = {name: [r["recall"] for r in played.answers(name)] for name in ("oracle", "full")}
    for name, by_question in recalls.items():
        assert all(set(r) == {1.0} for r in by_question if r is not None), name
    for drawn, record in zip(played.exam[0].questions, played.answers("last4"), strict=False):
        question = drawn.question
        in_view = [span.end_s > question.asked_s - 4 for span in question.evidence]
        wanted = [sum(in_view) / len(in_view)] * 3 if in_view else None
        assert record["recall"] == (wanted and pytest.approx(wanted))


@given(spans, st.integers(1, 90), st.integers(0, 20), st.integers(1, 40))
def test_the_oracle_wants_the_ends_of_the_evidence_or_an_even_share_of_them(
    evidence, visible, recent, num
):
    view = MemoryView(range(visible), min(recent, visible))
    times, older = BlockTimes(range(100), range(100), range(100)), view.older_ids
    chosen = evidence_blocks(times, view, evidence, num)
    held = [[b for b in range(s.start_s, s.end_s + 1) if b in older] for s in evidence]
    edges = {edge for blocks in held if blocks for edge in (blocks[0], blocks[-1])}
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= edges
    assert len(chosen) == min(num, len(edges))
    if len(edges) <= num:
        hit = recall_by_layer(times, evidence, [[*chosen, *view.recent_ids]])[0]
        assert hit == sum(span.start_s < visible for span in evidence) / len(evidence)


@given(st.data(), st.integers(1, 9), st.integers(0, 20), st.integers(0, 30))
def test_a_memory_finds_what_is_wanted_and_the_best_of_the_rest(data, top_k, first, below):
    scores = data.draw(st.lists(st.integers(0, 10**6), min_size=30, max_size=30, unique=True))

    class Scored:
        num_blocks = len(scores)

        def search(self, layers, queries, *, below, top_k, first, similarity):
            assert (layers, queries, similarity) == ([3], "query", "cosine")
            inside = sorted(range(first, below), key=lambda block: -scores[block])
            return sorted(inside[:top_k])

    memory = EvidenceMemory(Scored())
    memory.wanted = data.draw(st.lists(st.integers(0, 29), max_size=top_k, unique=True))
    found = memory.search([3], "query", first=first, below=below, top_k=top_k, similarity="cosine")
    inside = range(first, below)
    wanted = {block for block in memory.wanted if block in inside}
    rest = sorted(set(inside) - wanted, key=lambda block: -scores[block])
    assert found == sorted({*wanted, *rest[: top_k - len(wanted)]})
    assert memory.num_blocks == 30


@pytest.fixture
def asked(monkeypatch):
    """Every answer stream of a test."""
    streams = []
    ask = QueryHandler.ask

    def listen(self, *arguments):
        streams.append(ask(self, *arguments))
        return streams[-1]

    monkeypatch.setattr(QueryHandler, "ask", listen)
    return streams


@pytest.fixture
def replies():
    """A question in, what default and what the oracle reply out."""
    session = open_session(
        tiny_video_llm("llama")[0], recent_frames=3, retrieve_blocks=6, max_answer_tokens=8
    )
    session.push(stream_frames(40))
    answerers = [MemoryAnswerer(session, parse_policy(name)) for name in ("default", "oracle")]
    return lambda question: [answerer.reply(question) for answerer in answerers]


def test_the_oracle_adds_the_evidence_to_what_each_layer_retrieves(replies, asked):
    _, reply = replies(Question("where", "where is it?", "", 39, (Span(5, 9),), ()))
    default, oracle = (stream.retrieved for stream in asked)
    assert set(reply.recall) == {1.0}
    assert [len(blocks) for blocks in oracle] == [6] * len(default)
    assert all({5, 9} <= set(blocks) for blocks in oracle)
    assert set(oracle[0]) - {5, 9} <= set(default[0])
    assert oracle[0] != oracle[1]


@pytest.mark.parametrize("text", ["where is it?", "what was there at 0:12?"])
def test_without_evidence_to_add_the_oracle_sees_what_default_sees(replies, asked, text):
    default, oracle = replies(Question("where", text, "", 39, (), ()))
    assert oracle.text == default.text
    assert asked[0].retrieved == asked[1].retrieved
    assert asked[0].recent_ids == asked[1].recent_ids
    assert (12 in asked[1].recent_ids) == ("0:12" in text)


@given(st.integers(0, 200), st.integers(0, 30), st.integers(1, 40))
def test_uniform_blocks_are_evenly_spread_over_all_that_is_older(visible, recent, num):
    view = MemoryView(range(visible), min(recent, visible))
    older = len(view.older_ids)
    chosen = spread(view.older_ids, num)
    assert len(chosen) == min(num, older)
    assert set(chosen) <= set(range(older))
    gaps = [b - a for a, b in pairwise(chosen)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1
    if chosen:
        assert abs(chosen[0] - (older - 1 - chosen[-1])) <= 1


@given(st.integers(1, 500), st.integers(1, 70))
def test_frames_are_spread_evenly_from_the_first_to_the_newest(num_places, num):
    places = list(range(num_places))
    chosen = spread_to_the_ends(places, num)
    assert len(chosen) == len(set(chosen)) == min(num, num_places)
    assert chosen == sorted(chosen)
    assert chosen[-1] == places[-1]
    if len(chosen) > 1:
        assert chosen[0] == 0
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1


def test_nothing_is_spread_over_no_room():
    assert spread([3, 4, 5], 0) == []


def test_a_block_of_many_frames_holds_a_span_that_it_touches():
    model, _ = tiny_video_llm("qwen2_5_vl")
    session = open_session(model)
    session.push(stream_frames(8))
    times = BlockTimes.of(session.memory)
    assert list(times.holding(Span(3, 4))) == [1, 2]
    assert list(times.holding(Span(5, 5))) == [2]
    assert list(times.holding(Span(8, 9))) == []
    session.forget(2, 4)
    times = BlockTimes.of(session.memory)
    assert list(times.holding(Span(0, 9))) == session.memory.visible(None)
    assert list(times.holding(Span(3, 3))) == []


def test_an_answer_is_the_one_that_was_given_while_the_stream_played(played):
    stream, model = played.exam[0], played.model
    live = open_session(model)
    with played.blocks.open(stream, parse_policy("default")) as session:
        after = MemoryAnswerer(session, parse_policy("default"))
        for drawn in stream.questions:
            question = drawn.question
            frames = played.blocks.frames(
                stream, range(live.memory.num_blocks, question.asked_s + 1)
            )
            live.push(frames)
            assert after.reply(question).text == live.ask(question.text).answer.text


def test_the_recall_is_that_of_the_blocks_which_each_layer_read(played):
    stream = played.exam[0]
    with played.blocks.open(stream, parse_policy("default")) as session:
        answers = MemoryAnswerer(session, parse_policy("default"))
        for drawn in stream.questions:
            question = drawn.question
            reply = answers.reply(question)
            if reply.recall is None:
                assert not question.evidence
                continue
            read = session.ask(TimedQuestion(question.text, float(question.asked_s))).answer
            hits = 0
            for span in question.evidence:  # every block is a second
                blocks = [e for e in read.evidence if span.start_s <= e.block_id <= span.end_s]
                hits += max((e.num_layers for e in blocks), default=0)
            at_least = hits / len(question.evidence)  # the layers that its best block is in
            assert at_least - 1e-9 <= sum(reply.recall) <= 3
            if not hits:
                assert sum(reply.recall) == 0


def test_last4_answers_as_a_session_that_has_seen_four_frames(played):
    stream = played.exam[0]
    policy = parse_policy("last4")
    answers = FewFramesAnswerer(stream, policy, played.blocks)
    for drawn in stream.questions[:3]:
        question = drawn.question
        fresh = open_session(played.model)
        fresh.push(played.blocks.frames(stream, range(question.asked_s - 3, question.asked_s + 1)))
        assert fresh.memory.num_blocks == 4
        assert answers.reply(question).text == fresh.ask(question.text).answer.text


def test_sinks_encode_and_ask_within_one_window_that_moves_block_by_block(played):
    with played.blocks.open(played.exam[0], parse_policy("sinks")) as session:
        recent = session.policy.recent_blocks()
        assert session.encoding.window_blocks == recent
        assert (session.encoding.stride_blocks, session.policy.retrieve_blocks()) == (1, 0)
        seen = session.ask(TimedQuestion("where?", 30.0)).answer.evidence
        newest = range(31 - recent, 31)
        assert sorted(e.block_id for e in seen) == list(newest)


def test_frames_are_spread_over_all_so_far_and_encoded_in_sight_of_each_other(played):
    stream, policy = played.exam[0], parse_policy("frames")
    num = played.blocks.few_seconds(policy, 3)
    assert list(num) == [0, 1, 2, 3]
    question = stream.questions[-1].question
    seconds = played.blocks.few_seconds(policy, question.asked_s)
    assert (seconds[0], seconds[-1]) == (0, question.asked_s)
    gaps = [b - a for a, b in pairwise(seconds)]
    assert 0 < max(gaps) - min(gaps) <= 1
    fresh = open_session(
        played.model,
        window_frames=0,
        chunk_frames=64,
        recent_frames=len(seconds),
        retrieve_blocks=0,
    )
    fresh.push(played.blocks.frames(stream, seconds))
    answers = FewFramesAnswerer(stream, policy, played.blocks)
    assert answers.reply(question).text == fresh.ask(question.text).answer.text


@pytest.mark.parametrize("reads_dialogue", [True, False])
def test_captions_reach_the_model_whether_it_reads_a_dialogue_or_not(reads_dialogue):
    model, _ = tiny_video_llm("llama")
    asked = []

    class Listening(type(model.family)):
        recommended = replace(model.family.recommended, reads_dialogue=reads_dialogue)

        def question(self, question, dialogue=(), *more):
            asked.append((question, dialogue))
            return super().question(question, dialogue, *more)

    model.family.__class__ = Listening
    session = open_session(model, retrieve_blocks=0, max_answer_tokens=2)
    session.push(stream_frames(4))
    captions = CaptionMemory()
    captions.add(Caption(2, "an owl"))
    answerer = CaptionAnswerer(session, captions)
    answerer.reply(Question("where", "where is it?", "", 3, (), ()))
    ((text, dialogue),) = asked
    assert text.endswith("where is it?")
    assert ("an owl" in text) != reads_dialogue
    assert [turn.answer for turn in dialogue] == ["an owl"] * reads_dialogue


def test_the_language_baseline_is_the_model_on_its_bare_prompt():
    model, plain = tiny_video_llm("llama")
    session = open_session(model, max_answer_tokens=6)
    family = model.family
    text = "where is the owl?"
    reply = LanguageAnswerer(session).reply(Question("where", text, "", 60, (), ("owl",)))
    prompt = torch.cat([family.prefix().embeddings, family.question(text).embeddings])
    ids = []
    for _ in range(6):
        said = model.decoder.embed(torch.tensor(ids, dtype=torch.long))
        logits = plain(inputs_embeds=torch.cat([prompt, said])[None]).logits[0, -1]
        ids.append(int(logits.argmax()))
    assert reply.text == family.text(ids)
    assert session.memory.num_blocks == 0


def test_the_majority_answer_is_one_that_its_kind_can_have():
    texts = majority_texts(TINY)
    assert set(texts) == set(KINDS)
    assert texts["exist"] in ("yes", "no")
    assert texts["count"].isdigit()


def test_an_exam_has_its_share_of_held_out_words_and_styles():
    options = ExamOptions(seed=5, length_s=150, num_streams=5, num_questions=100)
    exam = draw_exam(options)
    assert draw_exam(options) == exam
    ordinary = [stream for stream in exam if stream.style == "seen"]
    styled = [stream for stream in exam if stream.style == "held_out"]
    assert (len(ordinary), len(styled)) == (5, 2)
    asked = [drawn for stream in ordinary for drawn in stream.questions]
    assert len(asked) == 100
    assert sum(drawn.wording == "held_out" for drawn in asked) == 20
    of_style = [drawn.question for stream in styled for drawn in stream.questions]
    assert len(of_style) == 20
    assert {question.kind for question in of_style} <= set(PRESENT) - {"color", "sign", "scene"}
    assert all(set(q.names) & set(emoji_names()) for q in of_style if q.names)
    items = [item for moment in styled[0].script.moments for item in moment.items]
    assert {item.style for item in items if item.kind == "emoji"} == {HELD_OUT_STYLE}
    for stream in exam:
        times_s = [drawn.question.asked_s for drawn in stream.questions]
        assert times_s == sorted(times_s)
        assert times_s[0] >= ASKED_FROM_S


def test_exams_of_different_seeds_share_no_stream_with_each_other_or_with_training():
    seeds = [
        stream.script.seed
        for seed in (0, 1, 2)
        for stream in draw_exam(ExamOptions(seed, 40, 5, 6))
    ]
    assert len(set(seeds)) == len(seeds)


def test_questions_about_blocks_of_two_frames_are_asked_when_a_block_has_ended():
    exam = draw_exam(ExamOptions(3, 120, 3, 60, frames_per_block=2))
    asked_s = [drawn.question.asked_s for stream in exam for drawn in stream.questions]
    assert len(asked_s) > 50
    assert all(second % 2 == 1 for second in asked_s)


def test_the_majority_answer_is_the_one_that_scores_best():
    options = ExamOptions(0, 14_400, 1, 10)
    texts = majority_texts(options)
    assert texts["when_first"].startswith("at ")  # one time is within 5 % of many
    assert texts["exist"] in ("yes", "no")


def test_full_is_refused_where_the_decoder_has_no_room():
    model = load_video_llm(None)
    require_fit(parse_policy("full"), model, 3600)
    require_fit(parse_policy("default"), model, 36_000)
    with pytest.raises(SettingsError, match="leave it out"):
        require_fit(parse_policy("full"), model, 7200)
