"""A search finds the blocks that a look at every block would, as moments, over several streams."""

from dataclasses import replace

import pytest
import torch
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm

from memory import FingerprintMismatchError, Hit, MemoryConfig, follow_memory
from vstream import VStreamConfig
from vstream import open_session as open_stream
from vstream.engine import MemoryView
from vstream.engine.prefill import prefix_kv
from vstream.engine.text_query import text_queries
from vstream.errors import QuestionError, SettingsError
from vstream.search.moment import Moment, joined, merged
from vstream.search.moment_search import PHRASE, MomentSearch

WORDS = "a red cup"


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


def session_of(model, count, seed=0, **options):
    session = open_session(model, retrieve_blocks=4, recent_frames=2, **options)
    session.push(stream_frames(count, seed=seed))
    return session


def queries_of(model, text):
    with torch.inference_mode():
        prefix = prefix_kv(model.decoder, model.family.prefix())
        return text_queries(model.decoder, prefix, model.family.question(text))


def by_hand(model, session, layers):
    """The mean cosine of every block, by block id."""
    queries = queries_of(model, PHRASE.replace("{words}", WORDS))
    kept = session.memory.visible(None)
    cosines = session.memory.cosines(torch.stack(queries), kept)[layers]
    return dict(zip(kept, cosines.mean(dim=0).tolist(), strict=True))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_words_queries_are_those_of_a_question_that_sees_no_block(name):
    model = tiny_video_llm(name)[0]
    with session_of(model, 4) as session, torch.inference_mode():
        no_blocks = [[]] * model.decoder.num_layers
        asked = session.questions.run(model.family.question(WORDS), MemoryView([], 0), no_blocks)
        for query, wanted in zip(queries_of(model, WORDS), asked.queries, strict=True):
            assert torch.allclose(query, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("given", "layers"), [(None, [0, 1]), ((2,), [2]), ((2, 0, 1), [0, 1, 2])])
def test_the_best_moment_holds_the_block_with_the_highest_mean_cosine(model, given, layers):
    with session_of(model, 30) as session:
        search = MomentSearch(model, given)
        search.add("one", session.memory)
        wanted = by_hand(model, session, layers)
        best = max(wanted, key=lambda block_id: wanted[block_id])
        moments = search.search(WORDS, top=3)
        assert [moment.score for moment in moments] == sorted(
            (moment.score for moment in moments), reverse=True
        )
        info = session.memory.info(best)
        assert (moments[0].block_id, moments[0].stream) == (best, "one")
        assert moments[0].score == pytest.approx(wanted[best], abs=1e-5)
        assert moments[0].captured_at == info.captured_at
        assert moments[0].from_s <= info.start_s <= info.end_s <= moments[0].to_s
        assert moments[0].thumbnail == session.memory.thumbnail(best)


def test_several_streams_are_ranked_together_and_each_may_be_left_out_again(model):
    with session_of(model, 20) as one, session_of(model, 20, seed=1) as other:
        alone = MomentSearch(model)
        alone.add("one", one.memory)
        both = MomentSearch(model)
        both.add("one", one.memory)
        both.add("other", other.memory)
        scores = [by_hand(model, session, both.layers) for session in (one, other)]
        moments = both.search(WORDS, top=4)
        assert {moment.stream for moment in moments} == {"one", "other"}
        assert moments[0].score == pytest.approx(max(map(max, map(dict.values, scores))), abs=1e-5)
        assert moments == sorted(moments, key=lambda moment: -moment.score)
        both.remove("other")
        assert both.search(WORDS) == alone.search(WORDS)


def test_only_blocks_of_the_span_are_found(model):
    with session_of(model, 30) as session:
        search = MomentSearch(model)
        search.add("one", session.memory)
        wanted = by_hand(model, session, search.layers)
        within = search.search(WORDS, from_s=7.0, to_s=12.0, top=6)
        assert all(7.0 <= moment.from_s <= moment.to_s <= 12.0 for moment in within)
        assert within[0].block_id == max(range(7, 13), key=lambda block_id: wanted[block_id])
        assert search.search(WORDS, from_s=100.0) == []
        assert search.search(WORDS, to_s=-1.0) == []


def test_what_comes_and_goes_between_two_searches_is_noticed(model):
    with session_of(model, 12) as session:
        search = MomentSearch(model)
        search.add("one", session.memory)
        found = search.search(WORDS, top=1)[0]
        session.forget(found.from_s, found.to_s)
        then = search.search(WORDS, top=1)[0]
        assert then.block_id != found.block_id
        session.push(stream_frames(12, start=12))
        fresh = MomentSearch(model)
        fresh.add("one", session.memory)
        assert search.search(WORDS, top=4) == fresh.search(WORDS, top=4)


def test_a_stream_that_another_process_writes_is_searched_as_it_grows(model, tmp_path):
    store = f"file://{tmp_path}"
    with session_of(model, 8, store=store) as session:
        inside = MomentSearch(model)
        inside.add("test", session.memory)
        with follow_memory(MemoryConfig(store=store), "test", model.decoder.device) as followed:
            outside = MomentSearch(model)
            outside.add("test", followed)
            for start in (8, 14):
                assert outside.search(WORDS) == inside.search(WORDS)
                session.push(stream_frames(6, start=start))
            assert outside.search(WORDS) == inside.search(WORDS)


def test_a_memory_of_another_model_is_refused_by_name(model):
    other = tiny_video_llm("qwen2")[0]
    with (
        session_of(other, 4) as session,
        pytest.raises(FingerprintMismatchError, match=r"tiny-qwen2.*tiny-llama"),
    ):
        MomentSearch(model).add("one", session.memory)


def test_no_words_too_many_words_and_layers_that_are_not_there_are_refused(model):
    with session_of(model, 4) as session:
        search = MomentSearch(model)
        search.add("one", session.memory)
        with pytest.raises(QuestionError, match="empty"):
            search.search("  ")
        with pytest.raises(QuestionError, match="too long"):
            search.search("x" * 5000)
    for layers in ((), (3,), (-1, 0)):
        with pytest.raises(SettingsError, match="search_layers"):
            MomentSearch(model, layers)


def moments_of(memory, scores):
    """The joined moments of blocks with these scores, as (from, to, best block)."""
    hits = [Hit(block_id, score) for block_id, score in scores.items()]
    found = joined("one", memory, memory.visible(None), hits)
    return [(moment.from_s, moment.to_s, moment.block_id) for moment in found]


def test_neighbours_make_up_one_moment(model):
    with session_of(model, 20) as session:
        memory = session.memory
        assert moments_of(memory, {4: 0.5, 3: 0.7, 6: 0.2, 9: 0.6}) == [(3, 6, 3), (9, 9, 9)]
        assert moments_of(memory, {}) == []
        memory.forget(10, 14)  # 9 and 15 have no block between them any more
        assert moments_of(memory, {9: 0.1, 15: 0.2}) == [(9, 15, 15)]


def test_blocks_on_both_sides_of_a_long_gap_are_two_moments(model):
    with open_session(model) as session:
        session.push([*stream_frames(4), *stream_frames(4, start=60)])
        assert moments_of(session.memory, {3: 0.1, 4: 0.2}) == [(60, 60, 4), (3, 3, 3)]


def moment(from_s, to_s, *, score=0.5, text="", stream="one", block_id=None):
    return Moment(stream, from_s, to_s, score, block_id, 0.0, text=text)


def test_moments_found_by_blocks_and_by_texts_take_turns_and_those_of_both_come_first():
    seen = [moment(s, s + 2, score=0.1, block_id=s) for s in (50, 5, 70)]
    told = [moment(s, s + 10, score=0.9, text=f"{s}") for s in (20, 0, 80)]
    apart = [replace(one, stream="other") for one in told]
    places = [(one.from_s, one.text) for one in merged(seen, told)]
    assert places == [(0, "0"), (50, ""), (20, "20"), (70, ""), (80, "80")]
    assert merged(seen, told)[0].block_id == 5
    assert [one.from_s for one in merged(seen, apart)] == [50, 20, 5, 0, 70, 80]
    assert merged(seen, []) == seen


def test_clips_are_found_by_their_texts_with_their_spans(model, tmp_path):
    config = VStreamConfig(
        policy="goldfish",
        policy_set={"clip_s": 10},
        memory=MemoryConfig(store=f"file://{tmp_path}"),
        engine={"max_answer_tokens": 5},
    )
    with open_stream(config, model, "door") as session, session_of(model, 20, seed=1) as other:
        session.push(stream_frames(95))
        search = MomentSearch(model)
        search.add("door", session.memory)
        search.add("other", other.memory)
        found = session.policy.found(WORDS, session.memory.state)
        assert len(found) == 9
        told = [one for one in search.search(WORDS, top=50) if one.text]
        assert {(one.stream, one.from_s, one.to_s, one.text, one.score) for one in told} == {
            ("door", one.from_s, one.to_s, one.text, one.score) for one in found
        }
        within = search.search(WORDS, top=50, from_s=25.0, to_s=45.0)
        assert {one.from_s for one in within if one.text} == {20, 30, 40}
        with follow_memory(config.memory, "door", model.decoder.device) as followed:
            outside = MomentSearch(model)
            outside.add("door", followed)
            inside = MomentSearch(model)
            inside.add("door", session.memory)
            assert outside.search(WORDS, top=50) == inside.search(WORDS, top=50)
