"""Questions as a person would type them: what their answers rest on, and that they are new.

`accepted` begins with the true answer; others mean the same. `kind`, `names` and `about_s` say
which fact a question is about, so that its answer can be derived again from the script.
"""

import json
import re
from functools import cache
from importlib.resources import files
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from encoders.families.embedded import time_words
from encoders.spoken_time import with_time_words
from eval.stream_world import KINDS, Fact, History, Script, Split, word_question, write_script
from eval.stream_world.past import PAST
from eval.stream_world.vocabulary import clock

LENGTH_S = 150
DRAWS = 20_000
RECORDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "hand_written_questions.json").read_text("utf-8")
)
PHRASINGS, SPOKEN = (
    json.loads(files("eval.stream_world").joinpath("assets", name).read_text("utf-8"))
    for name in ("phrasings.json", "spoken.json")
)
each_question = pytest.mark.parametrize(
    "record", RECORDS, ids=[record["question"] for record in RECORDS]
)


@cache
def script(seed: int) -> Script:
    return write_script(seed, LENGTH_S)


def the_fact(record: dict[str, Any]) -> Fact:
    """Facts are drawn until the one comes that the question is about."""
    history = History(script(record["seed"]).moments[: record["asked_s"] + 1])
    for draw in range(DRAWS):
        fact = KINDS[record["kind"]](history, Random(draw))
        if fact is None:
            continue
        names = {name for name in (fact.name, fact.other) if name}
        if names == set(record.get("names", ())) and fact.time_s == record.get("about_s"):
            return fact
    raise AssertionError(f"the stream has no such fact: {record}")


@each_question
def test_the_accepted_answers_are_true_of_the_script(record: dict[str, Any]) -> None:
    assert record["accepted"][0] == the_fact(record).answer


@each_question
def test_the_question_names_what_its_fact_is_about(record: dict[str, Any]) -> None:
    for name in record.get("names", ()):
        assert name in record["question"]
    if "about_s" in record:
        assert clock(record["about_s"]) in with_time_words(record["question"], time_words)


def test_the_questions_are_mixed() -> None:
    past = [record for record in RECORDS if record["kind"] in PAST]
    assert (len(RECORDS) - len(past), len(past)) == (16, 24)
    assert len({record["question"] for record in RECORDS}) == len(RECORDS)
    denied = [r for r in RECORDS if r["accepted"][0] in ("no", "not yet", "not seen", "0")]
    assert 6 <= len(denied) <= 8
    assert {record["kind"] for record in RECORDS} == set(KINDS)


def bare(text: str) -> str:
    """Lower case without marks: what is left is the pattern of a sentence."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def as_regex(pattern: str) -> str:
    """A train pattern as a regular expression that matches all its wordings, bare."""
    while "<" in pattern:
        pattern = re.sub(r"<(\w+)>", lambda rule: f"({PHRASINGS['rules'][rule[1]]})", pattern)
    pattern = re.sub(r"[,.:!-]|\?", " ", pattern)
    pattern = re.sub(r"\{\w\}", "SLOT", pattern)
    pattern = pattern.replace("(", "(?:").replace("[", "(?:").replace("]", "|)")
    # Spaces are loose, so that an option left out leaves no double space behind.
    return re.sub(r"\s+", r"\\s*", pattern).replace("SLOT", r"(?:a |an )?[a-z0-9]+")


def around(form: str) -> set[tuple[str, str]]:
    """What may stand before and after a pattern of that form, bare."""
    found: set[tuple[str, str]] = set()
    for text in PHRASINGS["forms"][form]:
        before, after = text.split("~")
        found |= set(product(spellings(before), spellings(after)))
    return found


def spellings(pattern: str) -> set[str]:
    """All texts of a short pattern without rules, bare."""
    group = re.search(r"[\[(]([^][()]*)[\])]", pattern)
    if group is None:
        return {bare(option) for option in pattern.split("|")}
    options = [*group[1].split("|"), *([""] if group[0][0] == "[" else [])]
    left, right = pattern[: group.start()], pattern[group.end() :]
    return {text for option in options for text in spellings(f"{left}{option}{right}")}


@pytest.fixture(scope="module")
def grammar() -> dict[str, re.Pattern[str]]:
    """Per form, one expression for its patterns of all kinds that training asks in."""
    patterns: dict[str, list[str]] = {form: [] for form in PHRASINGS["forms"]}
    for said in (*(kind["train"] for kind in PHRASINGS["kinds"].values()), *SPOKEN.values()):
        for form, texts in said.items():
            patterns[form] += [f"(?:{as_regex(text)})" for text in texts]
    return {form: re.compile(r"\s*|\s*".join(texts)) for form, texts in patterns.items()}


def is_trained(text: str, grammar: dict[str, re.Pattern[str]]) -> bool:
    text = bare(text)
    for form, patterns in grammar.items():
        for before, after in around(form):
            if text.startswith(before) and text.endswith(after):
                core = text[len(before) : len(text) - len(after)].strip()
                if patterns.fullmatch(core):
                    return True
    return False


@pytest.mark.parametrize("split", ["train", "spoken"])
def test_the_grammar_is_recognised(split: Split, grammar: dict[str, re.Pattern[str]]) -> None:
    rng = Random(0)
    for kind in KINDS:
        for _ in range(60):
            text = word_question(kind, rng, split, name="owl", other="cat", time_s=125)
            assert is_trained(text, grammar), text


def test_no_held_out_template_is_a_wording_of_the_train_grammar(
    grammar: dict[str, re.Pattern[str]],
) -> None:
    rng = Random(0)
    for kind in KINDS:
        says_last = kind in ("color_last", "sign_past", "scene_past")
        for says in {False, says_last}:
            for _ in range(30):
                text = word_question(
                    kind, rng, "held_out", name="owl", other="star", time_s=65, says_last=says
                )
                assert not is_trained(text.removeprefix("pardon, "), grammar), text


def test_no_question_is_a_wording_of_the_train_grammar(
    grammar: dict[str, re.Pattern[str]],
) -> None:
    for record in RECORDS:
        question = with_time_words(record["question"], time_words)
        assert not is_trained(question, grammar), record["question"]
