"""What contenders show a question of the stream world, and what the baselines say."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from engine import open_session, stream_frames, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from once_renderer import streams_drawn_once
from tiny_benchmark import TINY, TinyBenchmark

from eval.play.asker import SessionAsker, blind_asker, frames_asker
from eval.play.block_choice import (
    BlockTimes,
    Oracle,
    evidence_blocks,
    recall_by_layer,
    spread_to_the_ends,
)
from eval.play.contender import Contender
from eval.play.play_all import raw_bytes
from eval.play.plays import TimeSpan
from eval.play.settings import PlaySettings
from eval.stream_benchmark.exam import (
    ASKED_FROM_S,
    ExamOptions,
    draw_exam,
    majority_texts,
)
from eval.stream_world import KINDS
from eval.stream_world.present import PRESENT
from eval.stream_world.vocabulary import HELD_OUT_STYLE, emoji_names
from memory import ModelShape
from memory.policies.uniform import spread
from vstream import Question, load_config
from vstream.answer import QueryHandler
from vstream.engine import MemoryView

spans = st.lists(
    st.tuples(st.integers(0, 90), st.integers(0, 12)).map(lambda s: TimeSpan(s[0], s[0] + s[1])),
    min_size=1,
    max_size=5,
)


@pytest.fixture(autouse=True, scope="module")
def _streams_drawn_once():
    with streams_drawn_once():
        yield


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    names = "default window streaming_llm,frames=8 frames uniform rekv full oracle"
    run = TinyBenchmark(tmp_path_factory.mktemp("run"), f"{names} default,drop_similarity=0.95")
    return run.run()


def drawn(run, name):
    """Each question of the first stream, with what a contender said to it."""
    stream, answers = run.exam[0], run.answers(name)
    return [
        (one.question, answers[f"{stream.name}/{number}"])
        for number, one in enumerate(stream.questions)
    ]


def test_contenders_that_read_blocks_read_as_many(played):
    contenders = [one for one in played.contenders if one.name in ("default", "uniform", "rekv")]
    policies = [played.settings.policy(one, played.model) for one in contenders]
    assert len({one.recent_blocks() + one.retrieve_blocks() for one in policies}) == 1
    for question, said in drawn(played, "full"):
        assert [seen[0] for seen in said["seen_s"]] == list(range(question.asked_s + 1))


def test_oracle_and_full_have_all_the_evidence_and_a_window_that_of_what_it_kept(played):
    for name in ("oracle", "full"):
        recalls = [said["recall"] for _, said in drawn(played, name)]
        assert all(set(r) == {1.0} for r in recalls if r is not None), name
    held = []
    for question, said in drawn(played, "streaming_llm+frames=8"):
        assert [seen[0] for seen in said["seen_s"]] == list(
            range(max(0, question.asked_s - 7), question.asked_s + 1)
        )
        in_view = [span.end_s > question.asked_s - 8 for span in question.evidence]
        wanted = [sum(in_view) / len(in_view)] * 3 if in_view else None
        assert said["recall"] == (wanted and pytest.approx(wanted))
        held.append(said["held"])
    assert min(share for share in held if share is not None) < 1, "all evidence was kept"
    for _, said in drawn(played, "default"):
        assert said["held"] in (None, 1.0)


def test_a_window_evicts_and_what_is_told_of_bytes_is_what_the_store_held(played):
    hours = {
        one["contender"]: one["kept"][-1]
        for one in played.records.hours
        if one["video"] == "stream0"
    }
    costs = {one.policy: one for one in played.records.costs if one.video == "stream0"}
    assert hours["streaming_llm+frames=8"]["blocks"] <= 9 < 30 < hours["default"]["blocks"]
    assert costs["default"].num_bytes == hours["default"]["bytes"]["file"] > 0
    assert costs["default"].fixed_bytes is None
    window = costs["streaming_llm+frames=8"]
    assert (window.num_bytes, window.num_aged) == (0, 0)
    assert 0 < window.fixed_bytes < costs["default"].num_bytes / 3
    dropped = costs["default+drop_similarity=0.95"]
    assert 0 < dropped.num_bytes < costs["default"].num_bytes


def test_descriptions_grow_with_the_stream_and_what_goes_with_its_blocks_does_not(tmp_path):
    run = TinyBenchmark(tmp_path, "goldfish last_frames").run()
    costs = {one.policy: one for one in run.records.costs if one.video == "stream0"}
    assert 0 < costs["goldfish"].num_bytes < costs["goldfish"].fixed_bytes
    assert costs["last_frames"].num_bytes == 0 < costs["last_frames"].fixed_bytes


def test_a_budget_is_never_exceeded_and_what_stays_in_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("eval.play.settings._LEAST_BYTES", 1 << 16)
    options = ExamOptions(seed=3, length_s=150, num_streams=1, num_questions=20)
    run = TinyBenchmark(tmp_path, "default", options=options)
    share = Fraction(3, 2)  # the tiny model's blocks are mostly heads
    bounded = Contender("default", budget=share)
    run.contenders.append(bounded)
    budget_bytes = run.tasks[-3].budget_bytes
    assert budget_bytes == share * raw_bytes(run.plays[0], run.model, run.settings)
    config = run.settings.configured(bounded, budget_bytes).memory
    assert config.file_bytes + config.host_bytes == budget_bytes
    run.run()
    [whole, kept] = [
        one["kept"][-1] for one in run.records.hours if one["video"] == run.exam[0].name
    ]
    most = kept["most_bytes"]
    assert 0.8 * config.file_bytes < most["file"] <= config.file_bytes < whole["bytes"]["file"]
    assert most["host"] <= config.host_bytes
    assert kept["by_age"]["1-10min"] < 1 == whole["by_age"]["1-10min"]
    assert kept["by_age"]["<1min"] > 0
    documents = {name: report.document() for name, report in run.reports().items()}
    held = [documents[name]["held_by_age"]["1-10min"] for name in ("default", bounded.name)]
    assert held[1] < held[0] == 1
    [cost] = [c for c in run.records.costs if c.policy == bounded.name and c.video == "stream0"]
    assert (cost.num_bytes, cost.fixed_bytes) == (0, kept["bytes"]["file"])


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
def test_the_oracle_selects_what_is_wanted_and_the_best_of_the_rest(data, top_k, first, below):
    scores = data.draw(st.lists(st.integers(0, 10**6), min_size=30, max_size=30, unique=True))

    class Past:
        ids = range(first, below)

        def search(self, layers, queries, top_k, similarity, chunk_blocks):
            assert (layers, queries.shape, similarity, chunk_blocks) == ([3], (1, 2), "cosine", 1)
            return sorted(sorted(self.ids, key=lambda block: -scores[block])[:top_k])

    told = Oracle.read_settings({"retrieve_blocks": top_k, "similarity": "cosine"})
    oracle = Oracle(ModelShape(), told)
    oracle.wanted = data.draw(st.lists(st.integers(0, 29), max_size=top_k, unique=True))
    found = oracle.select(3, torch.zeros(2), Past())
    wanted = {block for block in oracle.wanted if block in Past.ids}
    rest = sorted(set(Past.ids) - wanted, key=lambda block: -scores[block])
    assert found == sorted({*wanted, *rest[: top_k - len(wanted)]})


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
    """A question, at 39 s, and its evidence in, what default and what the oracle reply out."""
    model = tiny_video_llm("llama")[0]
    told = {"recent_frames": 3, "retrieve_blocks": 6}
    session = open_session(model, **told, max_answer_tokens=8)
    session.push(stream_frames(40))
    settings = PlaySettings(load_config(), 8, follows_times=True)
    contenders = [Contender(name, told) for name in ("default", "oracle")]
    askers = [SessionAsker(session, contender, settings) for contender in contenders]
    return lambda text, *evidence: [one.ask(Question(text, 39.0), evidence) for one in askers]


def test_the_oracle_adds_the_evidence_to_what_each_layer_retrieves(asked, replies):
    _, reply = replies("where is it?", TimeSpan(5, 9))
    default, oracle = (stream.retrieved for stream in asked)
    assert set(reply.recall) == {1.0}
    assert [len(blocks) for blocks in oracle] == [6] * len(default)
    assert all({5, 9} <= set(blocks) for blocks in oracle)
    assert set(oracle[0]) - {5, 9} <= set(default[0])
    assert oracle[0] != oracle[1]


@pytest.mark.parametrize("text", ["where is it?", "what was there at 0:12?"])
def test_without_evidence_to_add_the_oracle_sees_what_default_sees(asked, replies, text):
    default, oracle = replies(text)
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
    assert list(times.holding(TimeSpan(3, 4))) == [1, 2]
    assert list(times.holding(TimeSpan(5, 5))) == [2]
    assert list(times.holding(TimeSpan(8, 9))) == []
    session.forget(2, 4)
    times = BlockTimes.of(session.memory)
    assert list(times.holding(TimeSpan(0, 9))) == session.memory.visible(None)
    assert list(times.holding(TimeSpan(3, 3))) == []


def test_an_answer_is_that_of_a_session_which_has_seen_this_much_and_no_other_question(played):
    video = played.plays[0].video
    for name in ("default", "streaming_llm+frames=8", "full"):
        [contender] = [one for one in played.contenders if one.name == name]
        for question, said in drawn(played, name):
            live = open_session(
                played.model,
                policy=contender.policy,
                follow_times=contender.follows_times,
                **{key: int(value) for key, value in contender.settings.items()},
            )
            live.push(video.frames_at(range(question.asked_s + 1)))
            answer = live.ask(Question(question.text, plan=False)).answer
            assert said["text"] == answer.text
            assert said["newest_frame_s"] == question.asked_s


def test_the_recall_is_that_of_the_blocks_which_each_layer_read(played):
    model, video = played.model, played.plays[0].video
    for question, said in drawn(played, "default"):
        if said["recall"] is None:
            assert not question.evidence
            continue
        live = open_session(model)
        live.push(video.frames_at(range(question.asked_s + 1)))
        read = live.ask(Question(question.text, float(question.asked_s), plan=False)).answer
        hits = 0
        for span in question.evidence:  # every block is a second
            blocks = [e for e in read.evidence if span.start_s <= e.block_id <= span.end_s]
            hits += max((e.num_layers for e in blocks), default=0)
        at_least = hits / len(question.evidence)  # the layers that its best block is in
        assert at_least - 1e-9 <= sum(said["recall"]) <= 3
        if not hits:
            assert sum(said["recall"]) == 0


def test_frames_are_spread_over_all_so_far_and_encoded_in_sight_of_each_other(played):
    model, video = played.model, played.plays[0].video
    ask = frames_asker(video, 0.0, model, Contender("frames"), played.settings)
    early = ask(Question("where?", 3.0), ()).seen_s
    assert [seen[0] for seen in early] == [0, 1, 2, 3]
    question, said = drawn(played, "frames")[-1]
    seconds = [round(seen[0]) for seen in said["seen_s"]]
    assert (seconds[0], seconds[-1]) == (0, question.asked_s)
    gaps = [b - a for a, b in pairwise(seconds)]
    assert 0 < max(gaps) - min(gaps) <= 1
    fresh = open_session(
        model, window_frames=0, chunk_frames=64, recent_frames=len(seconds), retrieve_blocks=0
    )
    fresh.push(video.frames_at(seconds))
    assert said["text"] == fresh.ask(question.text).answer.text


def test_without_a_frame_it_is_the_model_on_its_bare_prompt():
    model, plain = tiny_video_llm("llama")
    session = open_session(model, max_answer_tokens=6)
    family = model.family
    text = "where is the owl?"
    said = blind_asker(session)(Question(text, 60.0), ())
    prompt = torch.cat([family.prefix().embeddings, family.question(text).embeddings])
    ids = []
    for _ in range(6):
        told = model.decoder.embed(torch.tensor(ids, dtype=torch.long))
        logits = plain(inputs_embeds=torch.cat([prompt, told])[None]).logits[0, -1]
        ids.append(int(logits.argmax()))
    assert said.text == family.text(ids)
    assert (said.seen_s, said.newest_frame_s) == ((), None)
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
    options = ExamOptions(0, 3_600, 1, 10)
    texts = majority_texts(options)
    assert texts["when_first"].startswith("at ")  # one time is within 5 % of many
    assert texts["exist"] in ("yes", "no")
