"""How a token is chosen: greedy is argmax, seeds repeat, stop strings end, text streams whole."""

import dataclasses
from collections import Counter

import pytest
import torch
from decode_loop import decode, decoder_logits, noise
from engine import FAMILIES, open_session, stream_frames, tiny_video_llm
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_checkpoints import tiny_family, tiny_model

from vstream.decoding.token_choice import GREEDY, Decoding, TokenChoice
from vstream.errors import QuestionError

SEEDS = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def family():
    return tiny_family("qwen2_5_vl", tiny_model("qwen2_5_vl"))


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return tiny_video_llm(request.param)[0]


@given(SEEDS)
@settings(max_examples=30)
def test_greedy_is_the_best_token_and_its_probability(family, seed):
    logits = noise(family, seed)(None)
    token, probability = TokenChoice(GREEDY, family).choose(logits)
    assert token == int(logits.argmax())
    assert probability == float(logits.softmax(dim=0)[token])


@given(
    SEEDS,
    st.sampled_from(
        [
            Decoding(temperature=0.0, seed=5, top_p=0.5),
            Decoding(temperature=2.0, seed=5, top_p=0.0),
            Decoding(temperature=1.0, seed=5, top_p=1e-9),
            Decoding(temperature=1e-9, seed=5),
        ]
    ),
)
@settings(max_examples=40)
def test_no_temperature_or_hardly_any_nucleus_is_greedy(family, seed, decoding):
    greedy = decode(dataclasses.replace(GREEDY, max_tokens=8), family, noise(family, seed))
    other = decode(dataclasses.replace(decoding, max_tokens=8), family, noise(family, seed))
    assert other == greedy


@given(SEEDS, st.floats(0.1, 2.0), st.floats(0.3, 1.0))
@settings(max_examples=30)
def test_the_same_seed_gives_the_same_answer(family, seed, temperature, top_p):
    decoding = Decoding(temperature=temperature, top_p=top_p, seed=seed, max_tokens=8)
    first, again = (decode(decoding, family, noise(family, seed, scale=1.0)) for _ in range(2))
    assert first == again


def test_other_seeds_and_none_give_other_answers(family):
    hot = [Decoding(temperature=1.5, seed=seed, max_tokens=8) for seed in (1, 2, None, None)]
    answers = {decode(each, family, noise(family, 0, scale=1.0)).token_ids for each in hot}
    assert len(answers) == len(hot)


def test_draws_follow_the_probabilities_and_stay_in_the_nucleus(family):
    logits = torch.full((family.vocabulary_size,), -torch.inf)
    logits[[7, 8, 9, 10]] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    draws = 4000

    def frequencies(**options):
        choice = TokenChoice(Decoding(seed=3, **options), family)
        counts = Counter(choice.choose(logits)[0] for _ in range(draws))
        return {token: count / draws for token, count in counts.items()}

    near = pytest.approx
    assert frequencies(temperature=1.0) == near({7: 0.4, 8: 0.3, 9: 0.2, 10: 0.1}, abs=0.03)
    assert frequencies(temperature=1.0, top_p=0.65) == near({7: 4 / 7, 8: 3 / 7}, abs=0.03)
    sharper = {7: 16 / 30, 8: 9 / 30, 9: 4 / 30, 10: 1 / 30}
    assert frequencies(temperature=0.5) == near(sharper, abs=0.03)


@given(SEEDS, st.floats(0.0, 1.0), st.floats(0.2, 2.0), st.floats(0.0, 4.0))
@settings(max_examples=80)
def test_what_is_drawn_is_in_the_smallest_nucleus(family, seed, top_p, temperature, scale):
    decoding = Decoding(temperature=temperature, top_p=top_p, seed=seed)
    logits = noise(family, seed, scale)(None)
    token, _ = TokenChoice(decoding, family).choose(logits)
    probabilities = (logits.double() / temperature).softmax(dim=0)
    better = probabilities[probabilities > probabilities[token]]
    assert float(better.sum()) <= top_p + 1e-9


def test_the_probability_is_the_models_own_whatever_was_drawn(family):
    logits = noise(family, 1)(None)
    token, probability = TokenChoice(Decoding(temperature=2.0, seed=1), family).choose(logits)
    assert probability == float(logits.softmax(dim=0)[token])


@pytest.mark.parametrize("decoding", [GREEDY, Decoding(temperature=2.0, seed=0)])
def test_rows_beyond_the_vocabulary_are_never_chosen(family, decoding):
    decoded = decode(decoding, family, noise(family, 0, padding=64), limit=40)
    assert max(decoded.token_ids) < family.vocabulary_size


@given(SEEDS, st.lists(st.text("aeno st", min_size=1, max_size=2), min_size=1, max_size=3))
@settings(max_examples=60)
def test_stop_strings_end_the_answer_and_never_appear(family, seed, stops):
    decoding = Decoding(temperature=1.0, seed=seed, max_tokens=60, stop=tuple(stops))
    decoded = decode(decoding, family, noise(family, seed, scale=1.0))
    pieces = "".join(decoded.pieces)
    assert pieces == decoded.text
    assert not any(stop in decoded.text for stop in stops)
    whole = family.text(decoded.token_ids)
    ended_by_stop = any(stop in whole for stop in stops)
    assert decoded.truncated == (len(decoded.token_ids) == 60 and not ended_by_stop)
    assert not any(stop in family.text(decoded.token_ids[:-1]) for stop in stops)


def test_a_letter_is_shown_when_all_its_bytes_are_there(family):
    snowman = list(family.first_tokens(["☃"]))  # the first of three bytes
    choice = TokenChoice(GREEDY, family)
    assert choice.shown(snowman) == ""
    assert choice.text(snowman) == "\N{REPLACEMENT CHARACTER}"


def test_a_stop_id_ends_and_the_limit_truncates(family):
    stop = min(family.stop_ids)
    script = [7, 8, stop]
    best = iter(torch.eye(family.vocabulary_size)[script])
    ended = decode(GREEDY, family, lambda token: next(best))
    assert (ended.token_ids, ended.truncated) == ((7, 8), False)
    best = iter(torch.eye(family.vocabulary_size)[script])
    cut = decode(Decoding(max_tokens=2), family, lambda token: next(best))
    assert (cut.token_ids, cut.truncated) == ((7, 8), True)


def test_a_whole_decode_loop_gives_the_answer_of_the_session(model):
    session = open_session(model, retrieve_blocks=3, recent_frames=2, max_answer_tokens=12)
    session.push(stream_frames(8 * model.family.frames_per_block))
    answer = session.ask("what is on the table?").answer
    ours = decode(
        Decoding(max_tokens=12), model.family, decoder_logits(session, "what is on the table?")
    )
    assert ours.token_ids == answer.token_ids
    assert ours.text == answer.text
    assert ours.confidence == pytest.approx(answer.confidence, rel=1e-4)
    assert ours.truncated == answer.truncated


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", -0.1),
        ("top_p", 1.1),
        ("top_p", float("nan")),
        ("seed", 2**64),
        ("seed", -(2**63) - 1),
        ("stop", ("",)),
        ("stop", ("x" * 257,)),
        ("stop", ("x",) * 17),
    ],
)
def test_a_field_out_of_bounds_is_named(field, value):
    with pytest.raises(QuestionError, match=f"^{field}: wanted"):
        Decoding(**{field: value})


@pytest.mark.parametrize("seed", [2**64 - 1, -(2**63), 0])
def test_every_seed_of_64_bits_can_be_used(family, seed):
    TokenChoice(Decoding(temperature=1.0, seed=seed), family).choose(noise(family, 0)(None))


def test_a_decoding_can_be_a_key():
    assert len({Decoding(), GREEDY, Decoding(stop=("a",))}) == 2
