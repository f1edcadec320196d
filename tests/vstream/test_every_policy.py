"""What every memory policy promises that is found by name."""

from dataclasses import replace

import pytest
import torch
from engine import answer_of, open_session, parts_of, stream_frames, tiny_video_llm
from token_family import TokenFamily

from encoders import Turn
from memory import (
    POLICIES,
    FileTier,
    MemoryConfig,
    PolicyError,
    StoreAwayError,
    StoreError,
    follow_memory,
)
from memory.policies.default import Default
from memory.policy_hooks import state_bytes
from vstream import VStreamConfig
from vstream import open_session as open_stream
from vstream.errors import QuestionError
from vstream.policy import shape_of
from vstream.question import Question

ASKED = "what did you see?"
BLOCKS = 12
SMALL = {
    "default": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "uniform": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "moments": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "window": {"frames": 8},
    "streaming_llm": {"frames": 8, "sinks": 2},
    "rekv": {"window_tokens": 200, "retrieve_blocks": 4},
    "infllm": {"window_frames": 4, "retrieve_blocks": 4},
    "sirllm": {"window_frames": 6, "window_stride": 2, "recent_frames": 3, "retrieve_blocks": 4},
    "flash_vstream": {"temporal_frames": 6, "abstract_frames": 6, "bank_frames": 8},
    "flash_memory": {"csm_grids": 6, "dam_grids": 3, "bank_grids": 8},
    "goldfish": {"clip_s": 5, "frames": 3, "waiting": 1},
}
"""Settings under which so short a stream is longer than what is read."""


@pytest.fixture(scope="module")
def model():
    return tiny_video_llm("llama")[0]


@pytest.fixture(scope="module")
def filling(model):
    """The same with larger blocks: a budget is soon full of them."""
    family = TokenFamily(model.decoder.embed, model.family.vocabulary_size, tokens_per_frame=30)
    return replace(model, family=family)


@pytest.fixture(params=POLICIES.names())
def name(request):
    return request.param


def opened(model, name, **options):
    return open_session(
        model, codec="exact", max_answer_tokens=3, policy=name, **SMALL.get(name, {}), **options
    )


def block_bytes(session):
    """What the store measures, but for what the policy noted."""
    *_, num_bytes = session.memory.bytes_by_tier().values()
    store = session.memory._store
    is_file = isinstance(store, FileTier)
    return num_bytes - (store._noted.num_bytes if is_file else state_bytes(store.state()))


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
        assert session.policy.card.is_exact <= (session.ask(then).answer.coarser_since is None)
        session.push(stream_frames(5, start=BLOCKS))
        if session.policy.card.is_exact:
            assert session.memory.num_readable == kept + 5
            assert session.ask(then).answer.coarser_since is None
            assert answer_of(session, then) == before


def test_an_earlier_answer_changes_only_once_it_says_since_when_things_are_coarser(model, name):
    with opened(model, name) as session:
        session.push(stream_frames(5))
        then = Question(ASKED, session.memory.newest_s)
        before = answer_of(session, then)
        for start in range(5, 60, 5):
            session.push(stream_frames(5, start=start))
            if not session.memory.visible(then.at_s):
                with pytest.raises(QuestionError, match="no longer kept"):
                    session.ask(then)
                assert session.ask(ASKED).answer.coarser_since > then.at_s
                return
            answer = session.ask(then).answer
            if answer.coarser_since is None:
                assert parts_of(answer) == before
            else:
                assert not session.policy.card.is_exact


@pytest.mark.parametrize("store", ["memory", "file"])
def test_a_store_that_had_to_shrink_says_since_when(filling, store, tmp_path):
    where = {"store": "memory://", "host_bytes": 1 << 20}
    if store == "file":
        where = {"store": f"file://{tmp_path}", "file_bytes": 1 << 20}
    with opened(filling, "default", **where) as session:
        session.push(stream_frames(8))
        assert session.ask(ASKED).answer.coarser_since is None
        session.push(stream_frames(140, start=8))
        since = session.ask(ASKED).answer.coarser_since
        memory = session.memory
        whole = [i for i in memory.visible(None) if memory.info(i).start_s >= since]
        assert whole == list(range(whole[0], memory.num_blocks))
        assert {memory._forms[i].codec for i in whole} == {"exact"}
        older = [i for i in range(whole[0]) if i not in memory.visible(None)]
        assert older or memory._forms[whole[0] - 1].codec == "int4"
    if store == "file":
        with opened(filling, "default", **where) as again:
            assert again.ask(ASKED).answer.coarser_since == since


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


def test_a_budget_is_never_exceeded(filling, name):
    budget = 1 << 20
    with opened(filling, name, host_bytes=budget) as session:
        frames = iter(stream_frames(80))
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
        session.push(stream_frames(24))
        if kept is None:
            assert session.memory.num_readable == 24
            return
        assert kept <= session.memory.num_readable <= kept + 2 * max(1, kept // 8)
        per_block = block_bytes(session) / session.memory.num_readable
        session.push(stream_frames(24, start=24))
        assert block_bytes(session) == pytest.approx(
            per_block * session.memory.num_readable, rel=0.1
        )


def test_a_question_may_name_one_that_only_selects(model, name):
    with opened(model, "default") as session:
        session.push(stream_frames(BLOCKS))
        question = Question(ASKED, policy=name)
        if not POLICIES.find(name).changes_store:
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


class LookedAt(Default):
    """A block left behind is found by those of its tokens that got most attention."""

    name = "looked_at"
    changes_store = True
    wants_mass = True

    def note(self, block, state):
        noted = {}
        for block_id, paid in block.mass.items():
            mass = paid.clone()
            if str(block_id) in state:
                mass += mass_of(state, block_id).view(mass.shape)
            noted[str(block_id)] = mass.numpy().tobytes()
        return noted

    def rewrite(self, old, block_id, state):
        best = mass_of(state, block_id).view(old.keys.shape[:3]).topk(2).indices
        keys = torch.take_along_dim(old.keys.float(), best[..., None], dim=2)
        return replace(old, index=keys.mean(dim=2).flatten(1)[:, None])


def mass_of(state, block_id):
    return torch.frombuffer(bytearray(state[str(block_id)]), dtype=torch.float32)


def looked_at(model):
    return LookedAt(shape_of(model, 6), LookedAt.read_settings(SMALL["default"]))


def test_a_block_is_found_by_the_tokens_that_were_looked_at_most(model, tmp_path):
    with (
        opened(model, looked_at(model)) as session,
        opened(model, "default") as plain,
        opened(model, looked_at(model), store=f"file://{tmp_path}") as stored,
    ):
        for one in (session, plain, stored):
            one.push(stream_frames(48))
        found, mean = (one.memory.representative_keys(range(48)) for one in (session, plain))
        assert torch.equal(found[:, 16:], mean[:, 16:])
        assert not (found[:, :16] == mean[:, :16]).all(dim=-1).any()
        assert answer_of(session, ASKED) == answer_of(stored, ASKED)
        assert torch.equal(stored.memory.representative_keys(range(48)), found)
        config = MemoryConfig(store=f"file://{tmp_path}")
        with follow_memory(config, "test", torch.device("cpu")) as reader:
            assert torch.equal(reader.representative_keys(range(48)), found)
            assert reader.coarser_since == stored.memory.coarser_since == 16.0


def test_mass_is_what_each_token_got_however_the_stream_is_cut(model):
    noted = []
    for chunk_frames in (1, 5):
        with opened(model, looked_at(model), chunk_frames=chunk_frames) as session:
            session.push(stream_frames(20))
            noted.append(session.memory.state)
    one, other = noted
    assert one.keys() == other.keys()
    for name in one:
        first, second = (torch.frombuffer(bytearray(s[name]), dtype=torch.float32) for s in noted)
        torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


def test_a_policy_that_wants_nothing_pays_nothing(model, monkeypatch):
    def never(*_):
        raise AssertionError("nobody wants it")

    for where in ("vstream.engine.prefill.attention_mass", "memory.aging_memory.block_of"):
        monkeypatch.setattr(where, never)
    with opened(model, "default") as session:
        monkeypatch.setattr(type(session.memory), "state", property(never))
        session.push(stream_frames(40))
        assert session.ask(Question(ASKED, dialogue=(Turn("a", "b"),))).answer.text is not None
