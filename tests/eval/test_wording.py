"""Wording: every kind can be asked in many ways, and what is held out stays held out."""

import json
import re
from importlib.resources import files
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stream_world import KINDS, noisy, word_question
from eval.stream_world.vocabulary import COLORS, clock, emoji_names, shape_names

SAMPLES = 3_000
SPLITS = ("train", "spoken", "held_out")
PHRASINGS, SPOKEN = (
    json.loads(files("eval.stream_world").joinpath("assets", name).read_text("utf-8"))
    for name in ("phrasings.json", "spoken.json")
)
HELD_OUT_WORDS = set(PHRASINGS["held_out_words"])
NAMES = (*emoji_names(full=True), *shape_names())
kinds = st.sampled_from(sorted(KINDS))
names = st.sampled_from((*NAMES, "hot air balloon"))
seeds = st.integers(0, 1 << 40)


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"\{\w\}|<\w+>", " ", text.lower())))


def wordings(kind: str, split: str, num: int) -> set[str]:
    rng = Random(num)
    return {
        word_question(kind, rng, split, name="owl", other="red star", time_s=125)
        for _ in range(num)
    }


LAST_KINDS = ("color_last", "sign_past", "scene_past")


def wordings_with_last(kind: str, split: str, num: int) -> set[str]:
    rng = Random(num)
    return {word_question(kind, rng, split, name="owl", says_last=True) for _ in range(num)}


@pytest.mark.parametrize("kind", LAST_KINDS)
@pytest.mark.parametrize(("split", "least"), [("train", 300), ("spoken", 300), ("held_out", 4)])
def test_there_are_several_wordings_that_say_last(kind: str, split: str, least: int) -> None:
    texts = {text.removeprefix("pardon, ") for text in wordings_with_last(kind, split, 500)}
    assert len(texts) >= least
    assert all(re.search(r"\b(last|latest|final|most recent(ly)?)\b", text) for text in texts)
    if split == "held_out":
        assert len([text for text in texts if HELD_OUT_WORDS & words_of(text)]) >= 2


@given(st.sampled_from(LAST_KINDS), st.sampled_from(SPLITS), seeds)
def test_what_is_drawn_next_does_not_hang_on_whether_last_is_said(
    kind: str, split: str, seed: int
) -> None:
    texts, following = [], set()
    for says_last in (False, True, True):
        rng = Random(seed)
        texts.append(word_question(kind, rng, split, name="owl", says_last=says_last))
        following.add(rng.random())
    assert len(following) == 1
    assert texts[1] == texts[2]


@pytest.fixture(scope="module", params=["train", "spoken"])
def train(request: pytest.FixtureRequest) -> dict[str, set[str]]:
    return {kind: wordings(kind, request.param, SAMPLES) for kind in KINDS}


def bare(texts: set[str]) -> set[str]:
    """The texts without their marks, which do not tell kinds apart."""
    return {" ".join(re.findall(r"[\w']+", text)) for text in texts}


def test_every_kind_of_question_has_wordings_and_no_other_has() -> None:
    assert set(PHRASINGS["kinds"]) == set(SPOKEN) == set(KINDS)


def test_spoken_wordings_are_many_more() -> None:
    for kind, said in SPOKEN.items():
        plain = {text for texts in PHRASINGS["kinds"][kind]["train"].values() for text in texts}
        spoken = [text for texts in said.values() for text in texts]
        assert len(spoken) == len(set(spoken) - plain) >= 25, kind


def test_no_held_out_word_is_in_the_train_grammar() -> None:
    train = [PHRASINGS["rules"], PHRASINGS["forms"]]
    train += [said["train"] for said in PHRASINGS["kinds"].values()]
    train += SPOKEN.values()
    assert len(HELD_OUT_WORDS) >= 40
    assert not HELD_OUT_WORDS & words_of(json.dumps(train))


def test_every_kind_has_held_out_templates_with_and_without_new_words() -> None:
    for kind, said in PHRASINGS["kinds"].items():
        with_new_words = [text for text in said["held_out"] if HELD_OUT_WORDS & words_of(text)]
        assert len(with_new_words) >= 2, kind
        assert len(set(said["held_out"]) - set(with_new_words)) >= 2, kind


def test_a_held_out_word_is_used() -> None:
    used = [PHRASINGS["held_out_openings"]]
    used += [said["held_out"] for said in PHRASINGS["kinds"].values()]
    assert words_of(json.dumps(used)) >= HELD_OUT_WORDS


def test_every_kind_has_thousands_of_wordings(train: dict[str, set[str]]) -> None:
    for kind, texts in train.items():
        # Few repeats in a sample of this size: the grammar holds far more than the sample.
        assert len(texts) > 0.7 * SAMPLES, (kind, len(texts))


def test_every_kind_has_hundreds_of_wordings_without_what_stands_around_them() -> None:
    for kind, said in PHRASINGS["kinds"].items():
        patterns = [text for texts in said["train"].values() for text in texts]
        assert sum(num_wordings(text) for text in patterns) >= 300, kind


def num_wordings(pattern: str) -> int:
    """How many ways there are through a pattern."""
    while "<" in pattern:
        pattern = re.sub(r"<(\w+)>", lambda rule: f"({PHRASINGS['rules'][rule[1]]})", pattern)
    pattern = re.sub(r"\{\w\}", "", pattern)
    while "(" in pattern or "[" in pattern:
        pattern = re.sub(r"\[([^][()]*)\]", r"(\1|)", pattern)
        pattern = re.sub(r"\(([^][()]*)\)", lambda group: f"{{{options(group[1])}}}", pattern)
    return options(pattern)


def options(text: str) -> int:
    total = 0
    for option in text.split("|"):
        product = 1
        for number in re.findall(r"\{(\d+)\}", option):
            product *= int(number)
        total += product
    return total


def test_no_text_is_a_wording_of_two_kinds(train: dict[str, set[str]]) -> None:
    owner: dict[str, str] = {}
    for kind in KINDS:
        held_out = wordings(kind, "held_out", 200)
        if kind in LAST_KINDS:
            held_out |= wordings_with_last(kind, "held_out", 200)
        for text in bare(train[kind] | held_out):
            assert owner.setdefault(text, kind) == kind, text


@given(kinds, st.sampled_from(SPLITS), seeds, names, names, st.integers(0, 90_000))
@settings(max_examples=300)
def test_every_slot_is_filled_with_what_the_question_is_about(
    kind: str, split: str, seed: int, name: str, other: str, time_s: int
) -> None:
    def ask(name: str, other: str, time_s: int) -> str:
        return word_question(kind, Random(seed), split, name=name, other=other, time_s=time_s)

    text = ask(name, other, time_s)
    assert not re.search(r"[{}<>()\[\]|~]|\s\s|\s[?.,!:]|^\s|\s$", text), text
    is_about = (ask("NAME", "", 0) != ask("", "", 0), ask("", "OTHER", 0) != ask("", "", 0))
    assert name in text or not is_about[0]
    assert other in text or not is_about[1]
    assert (kind == "at_time") == (clock(time_s) in text)
    asks_about_two, asks_about_none = (
        ("order",),
        (
            *("count", "list", "scene", "sign", "caption", "recent"),
            *("sign_past", "at_time", "last_minute"),
        ),
    )
    assert is_about == (kind not in asks_about_none, kind in asks_about_two), text


@given(kinds, seeds)
def test_the_same_seed_gives_the_same_wording(kind: str, seed: int) -> None:
    texts = {word_question(kind, Random(seed), name="owl", other="cat") for _ in range(2)}
    assert len(texts) == 1


PRESENT_TENSE = ("exist", "color", "where", "count", "list", "motion", "size", "scene", "sign")
PAST_WORDS = {"was", "were", "did", "had", "saw", "appeared", "showed", "came", "said"}


def test_questions_about_the_present_have_no_past_tense(train: dict[str, set[str]]) -> None:
    for kind in (*PRESENT_TENSE, "caption", "watch"):
        for text in train[kind]:
            # `i was wondering` is about who asks
            assert not words_of(text.replace("i was wondering", "")) & PAST_WORDS, text


def test_questions_about_the_past_do_not_say_now(train: dict[str, set[str]]) -> None:
    for kind in set(KINDS) - {*PRESENT_TENSE, "caption", "watch", "recent"}:
        for text in train[kind]:
            assert not re.search(r"\b(right now|currently|at present|at the moment)\b", text), text


@given(kinds, seeds, names, names, st.integers(0, 90_000), st.sampled_from(sorted(COLORS)))
@settings(max_examples=300)
def test_noise_keeps_names_times_numbers_and_colors(
    kind: str, seed: int, name: str, other: str, time_s: int, color: str
) -> None:
    rng = Random(seed)
    text = word_question(kind, rng, name=name, other=other, time_s=time_s)
    text = f"{text} {color} 47 {clock(time_s)} {other}'s {name}"
    kept = re.compile(rf"\b(?:{re.escape(name)}|{re.escape(other)}|{color}|\w*\d\w*)\b")
    assert kept.findall(noisy(text, (name, other), rng)) == kept.findall(text)


def test_noise_changes_some_texts_a_little_and_never_empties_one() -> None:
    text, rng = "what color is the owl at the moment?", Random(0)
    noise = [noisy(text, ("owl",), rng) for _ in range(2_000)]
    changed = [given for given in noise if given != text]
    assert 0.3 < len(changed) / len(noise) < 0.8
    assert all(abs(len(given.split()) - len(text.split())) <= 4 for given in noise)
    assert noisy("owl?", ("owl",), rng).startswith("owl")
    assert any(given.endswith("moment") for given in noise), "the question mark is left out"


def test_noise_never_makes_a_name_out_of_another_word() -> None:
    rng, text = Random(0), "that came show shot what where then"
    for _ in range(5_000):
        assert not set(noisy(text, (), rng).split()) & set(NAMES)
