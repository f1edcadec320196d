"""rekv finds blocks by vectors of pictures and words, where the family makes them."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine import open_session, tiny_video_llm
from hypothesis import given
from hypothesis import strategies as st
from token_family import TokenFamily

from encoders import Frame
from memory import PolicyError
from memory.best_blocks import places_of_best
from memory.picture_notes import RUN_BLOCKS, note_picture, picture_scores, without_pictures
from memory.policy_hooks import changed
from vstream import VStreamConfig
from vstream import open_session as open_stream
from vstream.question import Question
from vstream.stream_reader import open_reader

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}
SHOWN = ["blue", "green", "red", "green", "blue", "blue", "red", "blue", "green", "red", "blue"]
TOLD = {"policy": "rekv", "window_tokens": 40, "retrieve_blocks": 3, "max_answer_tokens": 4}
EXTERNAL = {**TOLD, "retrieval": "external", "codec": "exact"}


class ColourFamily(TokenFamily):
    """Compares the mean colour of a frame with the colour that a text names."""

    def embed_picture(self, groups):
        frames = np.stack([frame.pixels for (frame,) in groups]).astype(np.float32)
        return torch.nn.functional.normalize(torch.from_numpy(frames.mean(axis=(1, 2))), dim=1)

    def embed_text(self, text):
        return torch.tensor(next(COLOURS[word] for word in text.split() if word in COLOURS))


@pytest.fixture(scope="module")
def model():
    model, plain = tiny_video_llm("llama")
    return replace(model, family=ColourFamily(model.decoder.embed, plain.config.vocab_size))


def frames(shown, start=0):
    """Each of its colour, and the later in a minute the purer."""
    found = []
    for number, colour in enumerate(shown, start):
        pixels = np.full((8, 8, 3), 60 - number % 60, np.uint8)
        pixels[:, :, list(COLOURS).index(colour)] = 200
        found.append(Frame(pixels, float(number), 1e9 + number))
    return found


def places(colour):
    return [number for number, one in enumerate(SHOWN) if one == colour]


@pytest.mark.parametrize("colour", COLOURS)
def test_all_layers_read_the_blocks_whose_pictures_fit_the_words(model, colour):
    with open_session(model, **EXTERNAL) as session:
        session.push(frames(SHOWN))
        stream = session.ask(f"where is the {colour} thing?")
        assert stream.retrieved == [places(colour)[-3:]] * model.decoder.num_layers
        assert {one.block_id for one in stream.evidence} == set(places(colour)[-3:])
        early = session.ask(Question(f"where is the {colour} thing?", at_s=3.0))
        assert max(early.retrieved[0]) <= 3


def test_neighbours_come_together_by_their_mean(model):
    with open_session(
        model, **{**EXTERNAL, "retrieve_blocks": 4, "retrieve_runs_of": 2}
    ) as session:
        session.push(frames(SHOWN))
        assert session.ask("the blue one?").retrieved[0] == [4, 5, 10]


def configured(store, **told):
    told = {name: value for name, value in told.items() if name not in ("policy", "codec")}
    engine = {"max_answer_tokens": told.pop("max_answer_tokens")}
    memory = {"store": store, "codec": "exact"}
    return VStreamConfig(policy="rekv", policy_set=told, engine=engine, memory=memory)


def test_a_stream_that_was_closed_and_one_that_is_only_read_find_the_same(model, tmp_path):
    stored, asked = configured(f"file://{tmp_path}", **EXTERNAL), "the red one?"
    with open_session(model, **EXTERNAL) as whole:
        whole.push(frames(SHOWN))
        expected = whole.ask(asked)
    with open_stream(stored, model, "door") as first:
        first.push(frames(SHOWN[:5]))
    unnamed = stored.model_copy(update={"policy": None, "policy_set": {}})
    with (
        open_stream(unnamed, model, "door") as again,
        open_reader(unnamed, model, "door") as reader,
    ):
        again.push(frames(SHOWN[5:], start=5))
        for stream in (again.ask(asked), reader.ask(asked)):
            assert stream.retrieved == expected.retrieved == [places("red")] * 3
            assert stream.answer.token_ids == expected.answer.token_ids


def scored(block_id, state):
    return picture_scores([block_id], np.ones(3, np.float32), state) is not None


def test_what_is_forgotten_leaves_no_vector_and_the_others_are_found(model):
    with open_session(model, **EXTERNAL) as session:
        session.push(frames(SHOWN))
        session.forget(2.0, 6.0)
        kept = [one for one in range(len(SHOWN)) if scored(one, session.memory.state)]
        assert kept == session.memory.visible(None) == [0, 1, 7, 8, 9, 10]
        assert session.ask("the red one?").retrieved[0][-1] == 9
        session.forget(0.0, 20.0)
        assert not session.memory.state


def test_vectors_go_with_the_last_block_of_their_run(model):
    with open_session(model, retain_s=70.0, **EXTERNAL) as session:
        for start in range(0, 40 * len(SHOWN), len(SHOWN)):
            session.push(frames(SHOWN, start=start))
            oldest = session.memory.first_block
            runs = range(oldest // RUN_BLOCKS, (session.memory.num_blocks - 1) // RUN_BLOCKS + 1)
            assert {*map(str, runs)} <= set(session.memory.state)
            late = (oldest - len(SHOWN)) // RUN_BLOCKS
            assert all(int(run) >= late for run in session.memory.state)
        assert oldest > 2 * RUN_BLOCKS
        assert session.ask("the red one?").retrieved[0]


@given(st.integers(1, 300), st.integers(0, 300), st.integers(0, 300), st.data())
def test_a_vector_is_compared_as_it_was_noted(count, one, other, data):
    random = np.random.default_rng(count)
    vectors = random.normal(size=(count, 3)).astype(np.float16)
    text = random.normal(size=3).astype(np.float32)
    state = {}
    for number, vector in enumerate(vectors):
        block = SimpleNamespace(
            block_id=number,
            picture=torch.from_numpy(vector),
            tokens=SimpleNamespace(start_s=float(number), end_s=number + 0.5),
            oldest_id=0,
        )
        state = changed(state, note_picture(block, state))
    ids = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    alike = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    alike(picture_scores(ids, text, state), vectors[ids] @ text)
    assert not scored(count, state)
    from_s, to_s = sorted((one, other))
    left = changed(state, without_pictures(state, from_s, to_s))
    stays = [number for number in ids if not from_s <= number + 0.5 or not number <= to_s]
    alike(picture_scores(stays, text, left), vectors[stays] @ text)
    assert not any(scored(gone, left) for gone in set(ids) - set(stays))


def test_a_family_without_such_vectors_is_refused(model):
    with pytest.raises(PolicyError, match="policy rekv: retrieval = external: the family"):
        open_session(tiny_video_llm("llama")[0], **EXTERNAL)


def test_a_stream_without_vectors_is_not_searched_by_them(model, tmp_path):
    store = f"file://{tmp_path}"
    with open_stream(configured(store, **TOLD), model, "door") as session:
        session.push(frames(SHOWN))
        assert not session.memory.state
        assert len(session.ask("the red one?").retrieved[0]) == 3
    with (
        open_reader(configured(store, **EXTERNAL), model, "door") as reader,
        pytest.raises(PolicyError, match="ask with retrieval=internal"),
    ):
        reader.ask("the red one?")


def test_pictures_cost_nothing_where_nobody_wants_them(model, monkeypatch):
    monkeypatch.setattr(model.family, "embed_picture", None)
    monkeypatch.setattr(model.family, "embed_text", None)
    with open_session(model, **TOLD) as session:
        session.push(frames(SHOWN[:3]))
        assert session.ask("the red one?").answer.text is not None


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=40), st.integers(1, 12), st.integers(1, 4))
def test_the_best_runs_have_the_highest_means(scores, top_k, runs_of):
    found = places_of_best(torch.tensor(scores).float(), top_k, runs_of)
    assert found == sorted(set(found))
    if len(scores) <= top_k:
        assert found == list(range(len(scores)))
        return
    runs = [range(at, min(at + runs_of, len(scores))) for at in range(0, len(scores), runs_of)]
    means = [sum(scores[at] for at in run) / len(run) for run in runs]
    taken = [mean for run, mean in zip(runs, means, strict=True) if set(run) <= set(found)]
    assert len(taken) == top_k // runs_of
    assert sorted(taken) == sorted(means)[len(means) - len(taken) :]
