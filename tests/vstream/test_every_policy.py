"""What every memory policy promises that is found by name."""

import pytest
from engine import answer_of, open_session, stream_frames, tiny_video_llm

from memory import POLICIES, MemoryConfig, PolicyError, StoreAwayError, StoreError
from memory.policy_state import state_bytes
from vstream import VStreamConfig
from vstream import open_session as open_stream
from vstream.errors import QuestionError
from vstream.question import Question

ASKED = "what did you see?"
BLOCKS = 12
SMALL = {
    "default": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "uniform": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "window": {"frames": 8},
    "streaming_llm": {"frames": 8},
    "rekv": {"window_tokens": 200, "retrieve_blocks": 4},
}
"""Settings under which so short a stream is longer than what is read."""


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


@pytest.fixture(params=POLICIES.names())
def name(request):
    return request.param


def opened(model, name, **options):
    return open_session(
        model, codec="exact", max_answer_tokens=6, policy=name, **SMALL.get(name, {}), **options
    )


def block_bytes(session):
    """What the store measures, but for what the policy noted."""
    *_, num_bytes = session.memory.bytes_by_tier().values()
    return num_bytes - state_bytes(session.memory.state)


def test_it_says_what_it_is(name):
    policy = POLICIES.find(name)
    assert policy.card.paper
    assert policy.card.keeps
    for field, info in policy.Settings.model_fields.items():
        assert info.description, f"{field} says what it is"


def test_a_layer_reads_blocks_in_stream_order(model, name):
    with opened(model, name) as session:
        session.push(stream_frames(BLOCKS))
        stream = session.ask(ASKED)
        assert stream.answer.text is not None
        for blocks in stream.retrieved:
            read = [*blocks, *stream.recent_ids]
            assert read == sorted(set(read))
            assert set(read) <= set(session.memory.visible(None))


def test_later_frames_never_change_an_earlier_answer_while_nothing_goes(model, name):
    with opened(model, name) as session:
        session.push(stream_frames(BLOCKS))
        then = Question(ASKED, session.memory.newest_s)
        before, kept = answer_of(session, then), session.memory.num_readable
        later = 5 if session.policy.card.is_exact else 0
        session.push(stream_frames(later, start=BLOCKS))
        assert session.memory.num_readable == kept + later
        assert answer_of(session, then) == before


def test_a_stream_that_was_closed_goes_on_as_if_it_had_not_been(model, name, tmp_path):
    with opened(model, name) as whole:
        whole.push(stream_frames(BLOCKS + 4))
        tokens, expected = answer_of(whole, ASKED)
    store = f"file://{tmp_path}"
    with opened(model, name, store=store) as first:
        first.push(stream_frames(BLOCKS))
    with opened(model, name, store=store) as again:
        again.push(stream_frames(4, start=BLOCKS))
        again_tokens, found = answer_of(again, ASKED)
        assert again_tokens == tokens
        assert sorted(found) == [pytest.approx(one, abs=1e-6) for one in sorted(expected)]


def test_a_budget_is_never_exceeded(model, name):
    budget = 1 << 20
    with opened(model, name, host_bytes=budget) as session:
        frames = iter(stream_frames(320))
        try:
            while some := [frame for frame, _ in zip(frames, range(8), strict=False)]:
                session.push(some)
                assert session.memory.stats().bytes_by_tier["host"] <= budget
        except StoreError:
            assert not session.policy.card.takes_budget
        else:
            assert session.policy.card.takes_budget
            assert answer_of(session, ASKED)


@pytest.mark.parametrize("store", ["memory", "file"])
def test_one_that_keeps_the_newest_lets_all_others_go(model, name, store, tmp_path):
    where = "memory://" if store == "memory" else f"file://{tmp_path}"
    with opened(model, name, store=where) as session:
        kept = session.policy.keep_blocks()
        session.push(stream_frames(100))
        if kept is None:
            assert session.memory.num_readable == 100
            return
        assert kept <= session.memory.num_readable <= kept + 2 * max(1, kept // 8)
        per_block = block_bytes(session) / session.memory.num_readable
        session.push(stream_frames(100, start=100))
        assert block_bytes(session) == pytest.approx(
            per_block * session.memory.num_readable, rel=0.1
        )


def test_a_question_may_name_one_that_only_selects(model, name):
    with opened(model, "default") as session:
        session.push(stream_frames(BLOCKS))
        question = Question(ASKED, policy=name)
        if name in ("default", "uniform"):
            assert session.ask(question).answer.text is not None
        else:
            with pytest.raises(QuestionError, match=f"policy {name}"):
                session.ask(question)


def test_evenly_spread_blocks_do_not_depend_on_the_words(model):
    with opened(model, "uniform") as session:
        session.push(stream_frames(BLOCKS))
        one, other = (session.ask(text).retrieved for text in (ASKED, "is there a red car?"))
        assert one == other == [[1, 3, 5, 7]] * len(one)


def test_a_policy_s_settings_are_refused_by_name(model):
    with pytest.raises(PolicyError, match=r"policy window: frames: .*its settings: frames"):
        open_session(model, policy="window", frames=0)


@pytest.mark.parametrize("bound", [{"file_bytes": 1 << 30}, {"retain_s": 60}])
def test_one_that_keeps_everything_refuses_a_bound_by_name(model, bound, tmp_path):
    memory = MemoryConfig(store=f"file://{tmp_path}", **bound)
    config = VStreamConfig(policy="full", memory=memory)
    with pytest.raises(PolicyError, match="policy full keeps everything"):
        open_stream(config, model, "door")


def test_a_store_that_is_away_while_old_blocks_go_costs_no_block(model, monkeypatch):
    with opened(model, "window") as session:
        session.push(stream_frames(20))
        kept = session.memory.num_readable

        def away(*_):
            raise StoreAwayError("away")

        with monkeypatch.context() as patched:
            patched.setattr(session.memory._store, "replace", away)
            session.push(stream_frames(3, start=20))
            assert session.memory.num_blocks == 23
            assert session.memory.num_readable == kept + 3
        session.push(stream_frames(2, start=23))
        assert session.memory.num_readable <= kept + 2


def test_a_policy_that_is_none_is_refused_before_the_device_is_asked(model, monkeypatch):
    with opened(model, "default") as session:
        session.push(stream_frames(2))
        monkeypatch.setattr(model.scheduler, "submit", None)
        with pytest.raises(QuestionError, match="no memory policy is called 'none'"):
            session.ask(Question(ASKED, policy="none"))
        monkeypatch.undo()


@pytest.mark.parametrize("checkpoint", ["llava_onevision", "qwen2_5_vl"])
def test_the_last_frames_are_read_as_if_nothing_had_come_before(checkpoint):
    model, _ = tiny_video_llm(checkpoint)
    per_block = model.family.frames_per_block
    frames = stream_frames(10 * per_block)
    newest = 2 * per_block
    with (
        opened(model, "last_frames", frames=newest) as session,
        opened(model, "default") as fresh,
    ):
        session.push(frames)
        fresh.push(frames[-newest:])
        stream = session.ask(ASKED)
        assert stream.answer.token_ids == fresh.ask(ASKED).answer.token_ids
        assert sorted(one.block_id for one in stream.evidence) == [8, 9]
        assert list(session.memory.state) == ["8", "9"]
        assert session.memory.num_readable <= 3
