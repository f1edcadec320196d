"""Benchmark: a published question set in; its questions, prompts, scores and table out.

    load -> Item -> prompt, once for every span of the video that may be seen -> the model's texts
         -> score -> Outcome -> aggregate -> the rows of the published table

Who plays the videos (`eval.play`) does for every item, and for nothing beyond it:

    texts = []
    for span in item.spans:                       # one, or a poll for each
        texts.append(ask(benchmark.prompt(item), span))
        if (final := benchmark.follow_up(item, texts[-1])) is not None:
            texts.append(ask(final, span))
            break
    outcome = benchmark.score(item, texts)

A frame may be shown for a span only if span.start_s <= its stream second <= span.end_s, and no
question sees another question or answer than those that the benchmark itself puts into its prompt.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eval.play.asked import Prompt, Span
from eval.question_sets.table import Row

__all__ = ["Benchmark", "Item", "Outcome", "Prompt", "Span", "Texts"]

Texts = Sequence[str | None]
"""What a model said to an item's prompts, in order; None where it failed. Empty: never asked."""


@dataclass(frozen=True)
class Item:
    """One question of a set, with what its benchmark says of when it is asked.

    `video` is relative to the data directory: a file, or a folder of frames. `answer` is the true
    one as it is scored: a letter, a number, a word or a text. `asked_s` is math.inf where a
    question follows the whole video and the set does not say how long that is. `polls_s`: the
    question stands from `asked_s` on and is put at these seconds, until it is answered. `context`
    is what the benchmark tells of earlier questions, `group` the part of the table it counts in.
    """

    id: str
    video_id: str
    video: str
    task: str
    question: str
    answer: str
    asked_s: float
    options: tuple[str, ...] = ()
    group: str = ""
    seen_from_s: float = 0.0
    polls_s: tuple[float, ...] = ()
    context: str = ""

    @property
    def spans(self) -> tuple[Span, ...]:
        """What may be seen each time that it is put."""
        ends = self.polls_s or (self.asked_s,)
        return tuple(Span(self.seen_from_s, end_s) for end_s in ends)


@dataclass(frozen=True)
class Outcome:
    """An item's score by the published rule, and by a strict one that closes its holes.

    Both are from 0 to 1; None: the published rule leaves the item out of its mean. The strict rule
    counts every item. `oddity` names what is awkward about the answer; empty for a plain one.
    """

    item: Item
    published: float | None
    strict: float
    oddity: str = ""


class Benchmark(Protocol):
    """One question set, or one way of asking it; `published` says where it can be had."""

    name: str
    published: str

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        """The items of these tasks, else all, in the order of the files.

        Raises SettingsError if a file is missing or malformed, or a task is unknown.
        """
        ...

    def prompt(self, item: Item) -> Prompt: ...

    def follow_up(self, item: Item, text: str | None) -> Prompt | None:
        """What is asked at once, and last, after `text` was said to a poll; None: go on."""
        ...

    def score(self, item: Item, texts: Texts) -> Outcome: ...

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """The published table; a row that needs a task without outcomes has no figures."""
        ...
