"""Wording: one of the many texts of a kind of question about given objects.

The words are data. A train wording is drawn from a grammar, `assets/phrasings.json`: `(a|b)` is a
choice, `[a|b]` a choice or nothing, `<rule>` one of the shared rules; `{n}` and `{m}` are objects,
`{a}` is `{n}` with its article, `{t}` a stream time. A form, such as a request or a fragment, is
what surrounds a pattern (at `~`). Spoken wordings, as people chat, come from that grammar and the
patterns of `assets/spoken.json`; only training uses them. Held-out wordings are whole sentences
with patterns and `held_out_words` that no other wording has; those of `held_out_last` are only for
questions that need a word such as `last`. `assets/timed.json` has the kinds that only exams use.
"""

import json
import re
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cache
from random import Random
from string import ascii_lowercase
from typing import Literal

from eval.stream_world.vocabulary import (
    COLORS,
    asset,
    clock,
    emoji_names,
    shape_names,
    with_article,
)

Split = Literal["train", "spoken", "held_out"]
"""Training uses `spoken` wordings, which include the `train` ones, and no `held_out` ones."""
SLIP_CHANCE = 0.09
"""How often `noisy` gets a word wrong: dropped, doubled, swapped or misspelt."""
BARE_CHANCE = 0.15
"""How often `noisy` omits the punctuation at the end."""
DROPPABLE = frozenset(
    ("a", "an", "the", "of", "on", "in", "at", "to", "for", "is", "there", "you", "me", "it")
)
"""Words without which a question keeps its meaning; tense and order depend on the others."""
LAST_WORDS = ("last", "latest", "final", "most", "recent", "recently")
"""`noisy` leaves them alone: they decide which sighting is asked about."""
SAYS_LAST = re.compile(r"\b(?:last|latest|final|most recent(?:ly)?)\b")

_SYMBOLS = re.compile(r"[()\[\]|]|<\w+>|[^()\[\]|<]+")
_SPACE_BEFORE_MARK = re.compile(r"\s+(?=[?.,!:;])")


@dataclass(frozen=True)
class _Choice:
    options: "tuple[tuple[str | _Choice, ...], ...]"

    def said(self, rng: Random) -> str:
        parts = self.options[int(rng.random() * len(self.options))]
        return "".join(part if isinstance(part, str) else part.said(rng) for part in parts)


@dataclass(frozen=True)
class _Wordings:
    """All wordings of one kind: (form, pattern) pairs, and whole held-out texts."""

    train: tuple[tuple[_Choice, _Choice], ...]
    spoken: tuple[tuple[_Choice, _Choice], ...]
    """Including those of `train`."""
    held_out: tuple[str, ...]
    held_out_last: tuple[str, ...]
    openings: tuple[str, ...]
    """For held-out ones."""


def word_question(
    kind: str,
    rng: Random,
    split: Split = "train",
    *,
    name: str = "",
    other: str = "",
    time_s: int | None = None,
    says_last: bool = False,
) -> str:
    """Word a question about `name` (and `other`) at `time_s`, as its kind needs. `says_last` adds a
    word such as `last` without advancing `rng` further, so later draws do not depend on it.
    """
    text = _pattern(kind, rng, split)
    if says_last:
        own = Random(copy(rng).getrandbits(64))
        while not SAYS_LAST.search(text):
            text = _pattern(kind, own, split, with_last=True)
    text = _SPACE_BEFORE_MARK.sub("", " ".join(text.split()))
    return text.format(
        n=name,
        m=other,
        a=with_article(name) if name else "",
        t=clock(time_s) if time_s is not None else "",
    )


def _pattern(kind: str, rng: Random, split: Split, with_last: bool = False) -> str:
    """Return a text with its slots; `with_last` adds `held_out_last` to the held-out ones."""
    wordings = _wordings()[kind]
    if split == "held_out":
        more = wordings.held_out_last if with_last else ()
        return rng.choice(wordings.openings) + rng.choice((*wordings.held_out, *more))
    form, pattern = rng.choice(wordings.spoken if split == "spoken" else wordings.train)
    return form.said(rng).replace("~", pattern.said(rng))


def noisy(text: str, kept_words: Collection[str], rng: Random) -> str:
    """Return the text with a few typing slips, for training only. Colours, words with a digit,
    `LAST_WORDS` and those of `kept_words` (names) stay intact.
    """
    kept = {word for words in (*kept_words, *COLORS, *LAST_WORDS) for word in words.lower().split()}
    words = text.split()
    if rng.random() < BARE_CHANCE:
        words[-1] = words[-1].rstrip("?.!") or words[-1]
    slipped: list[str] = []
    for word in words:
        core = word.strip("?.,!:;'").lower()
        is_kept = core.removesuffix("'s") in kept or not core.isalpha()
        if is_kept or rng.random() >= SLIP_CHANCE:
            slipped.append(word)
        else:
            _slip(word, core, slipped, kept, rng)
    return " ".join(slipped)


def _slip(word: str, core: str, before: list[str], kept: Collection[str], rng: Random) -> None:
    """Append `word` to the words before it, wrong in one of several ways."""
    can_swap = bool(before) and before[-1].isalpha() and before[-1].lower() not in kept
    way = rng.random()
    if way < 0.3 and core in DROPPABLE:
        return
    if way < 0.4:
        before += [core, word]
    elif way < 0.5 and can_swap and word == core:
        before.insert(-1, word)
    else:
        wrong = _misspelt(core, rng)
        before.append(word if wrong in _vocabulary() else word.lower().replace(core, wrong))


def _misspelt(word: str, rng: Random) -> str:
    """Return it with one letter missing, extra, wrong or misplaced; short words stay unchanged."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    left, letter, right = word[:at], word[at], word[at + 1 :]
    wrong = (letter * 2, "", rng.choice(ascii_lowercase), right[0] + letter)
    chosen = rng.randrange(4)
    return left + wrong[chosen] + (right[1:] if chosen == 3 else right)


@cache
def _vocabulary() -> frozenset[str]:
    """Words that a slip must not produce by chance, as `that` might become `hat`."""
    names = (*emoji_names(full=True), *shape_names(), *COLORS)
    return frozenset(word for name in names for word in name.split())


@cache
def _wordings() -> dict[str, _Wordings]:
    data, more, timed = (
        json.loads(asset(name).read_text("utf-8"))
        for name in ("phrasings.json", "spoken.json", "timed.json")
    )
    rules: dict[str, _Choice] = {}
    for rule, pattern in data["rules"].items():  # a rule may use those above it
        rules[rule] = _parse(pattern, rules)
    forms = {form: _parse("|".join(around), rules) for form, around in data["forms"].items()}

    def patterns(*said: Mapping[str, list[str]]) -> tuple[tuple[_Choice, _Choice], ...]:
        return tuple(
            (forms[form], _parse(pattern, rules))
            for form in dict.fromkeys(form for one in said for form in one)
            for one in said
            for pattern in one.get(form, ())
        )

    return {
        kind: _Wordings(
            train=patterns(said["train"]),
            spoken=patterns(said["train"], more.get(kind, {})),
            held_out=tuple(said["held_out"]),
            held_out_last=tuple(said.get("held_out_last", ())),
            openings=tuple(data["held_out_openings"]),
        )
        for kind, said in (data["kinds"] | timed["kinds"]).items()
    }


def _parse(pattern: str, rules: Mapping[str, _Choice]) -> _Choice:
    open_: list[tuple[str, list[list[str | _Choice]]]] = [("", [[]])]
    for symbol in _SYMBOLS.findall(pattern):
        bracket, options = open_[-1]
        if symbol == "|":
            options.append([])
        elif symbol in "([":
            open_.append((symbol, [[]]))
        elif symbol in ")]":
            assert bracket + symbol in ("()", "[]"), f"unmatched {symbol!r} in {pattern!r}"
            open_.pop()
            choice = _Choice(tuple(map(tuple, options)))
            open_[-1][1][-1].append(_Choice(((choice,), ())) if symbol == "]" else choice)
        else:
            options[-1].append(rules[symbol[1:-1]] if symbol[0] == "<" else symbol)
    assert len(open_) == 1, f"unmatched {open_[-1][0]!r} in {pattern!r}"
    return _Choice(tuple(map(tuple, open_[0][1])))
