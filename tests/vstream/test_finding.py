"""Finding: spans of a stream in which a statement is so, for every family and every policy."""

from concurrent.futures import CancelledError
from dataclasses import replace
from itertools import pairwise

import pytest
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from owl_stream import VISITS, owl_frames

from encoders.check import Check
from memory import POLICIES, MemoryConfig, follow_memory
from memory.block_facts import BlockFacts
from vstream import (
    EFFORTS,
    Effort,
    Finding,
    ModelError,
    QuestionError,
    VStreamConfig,
    load_config,
    load_video_llm,
)
from vstream import open_session as open_stream
from vstream.device.asker import Asker
from vstream.stream_reader import StreamReader

SO = "a dog is on the sofa"
ALL = Effort(None, None, None)
DEFAULT = replace(EFFORTS["default"], milliseconds=None)
QUICK = {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4}
BLOCKS = 14


def session_of(model, blocks=BLOCKS, seed=0, **options):
    """Of a random model that says yes about as often as no, and is believed."""
    family = model.family
    family.recommended = replace(family.recommended, find_threshold=0.5)
    session = open_session(model, max_answer_tokens=1, **{**QUICK, **options})
    session.push(stream_frames(blocks * family.frames_per_block, seed=seed))
    return session


@pytest.fixture(scope="module")
def llama():
    return tiny_video_llm("llama")[0]


@pytest.fixture(scope="module")
def owls():
    """The embedded model, and what it saw."""
    config = load_config().model_copy(update={"memory": MemoryConfig(store="memory://")})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    with open_stream(config, model, "owls") as session:
        session.push(owl_frames())
        yield session


def found(streams, statement=SO, **options):
    finding = Finding(streams, statement, **options)
    told = list(finding)
    whole = [span for span in finding.spans if span.is_whole]
    assert sorted(told, key=lambda one: (one.stream, one.from_s)) == whole
    return finding


def require_sound(finding, within=None):
    """Spans are apart and in order; the parts of a stretch have no gaps between them."""
    for name, parts in finding.coverage.items():
        spans = [span for span in finding.spans if span.stream == name]
        for one, other in pairwise(spans):
            assert one.to_s <= other.from_s
        for one, other in pairwise(parts):
            assert one.to_s == other.from_s
            assert one.kind != other.kind
        for span in spans:
            assert any(p.kind == "judged" and p.from_s <= span.from_s <= p.to_s for p in parts)
        if within is not None:
            assert (parts[0].from_s, parts[-1].to_s) == within


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_judged_block_by_block(name):
    model = tiny_video_llm(name)[0]
    with session_of(model) as session:
        finding = found({"one": session}, effort=ALL)
        require_sound(finding)
        assert finding.judged == session.memory.num_readable
        assert [part.kind for part in finding.coverage["one"]] == ["judged"]
        again = found({"one": session}, effort=ALL)
        assert (again.spans, again.coverage) == (finding.spans, finding.coverage)
        assert (again.judged, again.known) == (0, finding.judged)


@pytest.mark.parametrize("name", POLICIES.names())
def test_of_every_policy_the_blocks_that_it_keeps_are_judged(llama, name):
    options = {"window": {"frames": 8}}.get(name, {})
    session = open_session(llama, max_answer_tokens=1, policy=name, **options)
    with session:
        session.push(stream_frames(12))
        finding = found({"one": session}, effort=ALL, within={"one": (2.0, 9.0)})
        require_sound(finding, (2.0, 9.0))


def test_what_comes_and_goes_is_found_with_its_times(owls):
    for statement in ("tell me when you see an owl", "an owl is there now"):
        finding = found({"owls": owls}, statement, effort=DEFAULT)
        spans = [(span.from_s, span.to_s) for span in finding.spans]
        assert spans == [(visit.start, visit.stop) for visit in VISITS]
        assert all(span.thumbnail and span.probability > 0.9 for span in finding.spans)
        assert all(span.from_s <= span.at_s < span.to_s for span in finding.spans)
    assert not found({"owls": owls}, "a bear is there now", effort=DEFAULT).spans
    within = {"owls": (4.0, 12.0)}
    [inside] = found({"owls": owls}, "an owl is there now", within=within, effort=DEFAULT).spans
    assert (inside.from_s, inside.to_s) == (8.0, 12.0)


@pytest.mark.parametrize("effort", [DEFAULT, replace(ALL, judgements=40)])
def test_a_span_counts_if_the_thing_is_named_where_it_is_surest(owls, monkeypatch, effort):
    def checks_naming(name):
        seen = Check("tell me when you see an owl")
        return lambda statement: [seen, Check("what do you see now?", least=0.25, name=name)]

    family = owls.model.family
    monkeypatch.setattr(family, "checks", checks_naming("owl"))
    named = found({"owls": owls}, effort=effort)
    monkeypatch.setattr(family, "checks", checks_naming("bear"))
    unnamed = found({"owls": owls}, effort=effort)
    assert named.spans
    assert not unnamed.spans
    assert unnamed.coverage == named.coverage
    family_of_yes = checks_naming("owl")(SO)[:1]
    monkeypatch.setattr(family, "checks", lambda statement: family_of_yes)
    assert found({"owls": owls}, effort=effort).spans == named.spans


@settings(max_examples=10)
@given(
    efforts=st.builds(
        Effort, st.none() | st.integers(0, 9), st.none() | st.integers(0, 20), st.none()
    )
)
def test_several_streams_give_the_spans_of_each_known_or_not(llama, efforts):
    with session_of(llama) as one, session_of(llama, seed=1) as other:
        alone = [found({name: s}, effort=efforts) for name, s in (("a", one), ("b", other))]
        for together in (False, True):
            if together:
                one.memory.facts, other.memory.facts = BlockFacts(), BlockFacts()
            both = found({"a": one, "b": other}, effort=efforts)
            assert both.spans == [*alone[0].spans, *alone[1].spans]
            assert both.coverage == alone[0].coverage | alone[1].coverage
            assert bool(both.judged) >= together * bool(both.known + both.judged)


def test_a_reader_in_another_place_finds_the_same(llama, tmp_path):
    with session_of(llama, store=f"file://{tmp_path}") as session:
        wanted = found({"one": session}, effort=ALL)
        memory = follow_memory(
            MemoryConfig(store=f"file://{tmp_path}"), "test", llama.decoder.device
        )
        session.memory.flush()
        with StreamReader(llama, memory, VStreamConfig()) as reader:
            assert found({"one": reader}, effort=ALL).spans == wanted.spans


def test_what_is_asked_again_is_found_as_by_a_reader_that_knows_nothing(llama, tmp_path):
    few = Effort(8, 24, None)
    config = MemoryConfig(store=f"file://{tmp_path}")
    with session_of(llama, blocks=40, store=config.store) as session:
        changes = [
            lambda: None,
            lambda: session.push(stream_frames(6, start=40)),
            lambda: session.forget(10.0, 12.0),
            lambda: session.push(stream_frames(6, start=46)),
            lambda: None,
        ]
        for change in changes:
            change()
            again = found({"one": session}, effort=few)
            session.memory.flush()
            memory = follow_memory(config, "test", llama.decoder.device)
            with StreamReader(llama, memory, VStreamConfig()) as reader:
                fresh = found({"one": reader}, effort=few)
            assert fresh.spans
            assert (again.spans, again.coverage) == (fresh.spans, fresh.coverage)
        assert (again.judged, again.known) == (0, fresh.judged)


def test_what_was_judged_goes_with_what_is_forgotten(llama):
    with session_of(llama) as session:
        found({"one": session}, effort=ALL)
        facts = session.memory.facts
        prompt = llama.family.recommended.judge_prompt.replace("{condition}", SO)
        assert all(facts.get(block_id, prompt) for block_id in range(BLOCKS))
        session.forget(3.0, 6.0)
        assert len(facts) <= session.memory.num_readable == BLOCKS - 4
        assert not any(facts.get(block_id, prompt) for block_id in range(3, 7))
        finding = found({"one": session}, effort=ALL, within={"one": (0.0, 13.0)})
        require_sound(finding, (0.0, 13.0))
        assert finding.judged + finding.known == BLOCKS - 4


def test_a_damaged_block_is_gone_and_the_rest_is_looked_through(llama, tmp_path):
    with session_of(llama, store=f"file://{tmp_path}") as session:
        wanted = found({"one": session}, effort=ALL)
        session.memory.flush()
        [segment] = tmp_path.glob("test/segments/*.vskv")
        data = segment.read_bytes()
        at = data.index(session.memory._source.read_rows(1, [5])[0])
        segment.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with session_of(llama, blocks=0, store=f"file://{tmp_path}") as session:
        finding = found({"one": session}, effort=ALL)
        assert session.memory.stats().damaged == 1
    require_sound(finding)
    whole = [(part.kind, part.from_s, part.to_s) for part in wanted.coverage["one"]]
    parts = [(part.kind, part.from_s, part.to_s) for part in finding.coverage["one"]]
    [(_, from_s, to_s)] = whole
    assert parts == [("judged", from_s, 5.0), ("gone", 5.0, 6.0), ("judged", 6.0, to_s)]
    assert {one.block_id for one in finding.spans} <= set(range(BLOCKS)) - {5}


def test_a_family_without_yes_and_no_is_refused_by_name():
    model = tiny_video_llm("llama")[0]
    with session_of(model) as session:
        family = session.model.family
        family.recommended = replace(family.recommended, yes_words=(), no_words=("no",))
        with pytest.raises(ModelError, match=f"{family.name} writes"):
            list(Finding({"one": session}, SO, effort=ALL))


def test_a_bound_on_judgements_is_kept_and_what_is_left_is_said(llama):
    with session_of(llama, blocks=60) as session:
        finding = found({"one": session}, effort=Effort(None, 10, None))
        assert finding.judged == 10
        assert {part.kind for part in finding.coverage["one"]} == {"judged", "open"}
        require_sound(finding)
        assert not found({"one": session}, effort=Effort(5, 10, 0)).judged


def test_an_asker_who_leaves_ends_it_within_a_round(llama, monkeypatch):
    asker, rounds = Asker(), []

    def leave_after_three(done):
        rounds.append(done)
        if len(rounds) == 3:
            asker.leave()

    monkeypatch.setattr(llama.scheduler, "on_round", leave_after_three)
    with session_of(llama, blocks=60) as session:
        rounds.clear()
        with pytest.raises(CancelledError):
            list(Finding({"one": session}, SO, effort=ALL, asker=asker))
        assert len(rounds) <= 4
        assert session.ask("what?").answer.token_ids is not None


def test_nothing_is_found_of_an_empty_stream_and_nothing_said_is_refused(llama):
    with open_session(llama, **QUICK) as session:
        finding = found({"one": session}, effort=DEFAULT)
        assert (finding.spans, finding.coverage) == ([], {"one": []})
        with pytest.raises(QuestionError, match="empty"):
            Finding({"one": session}, "  ")
    assert set(EFFORTS) == {"quick", "default", "thorough"}


def test_facts_are_bounded_and_the_block_first_asked_about_goes_first(monkeypatch):
    monkeypatch.setattr("memory.block_facts.MOST_FACTS", 3)
    facts = BlockFacts()
    for block_id, asked in ((0, "a"), (0, "a"), (0, "b"), (1, "a"), (2, "a")):
        facts.put(block_id, asked, 0.5)
    assert (len(facts), facts.get(0, "a"), facts.get(2, "a")) == (2, None, 0.5)
