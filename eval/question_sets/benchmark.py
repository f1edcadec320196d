"""Benchmark is a published question set: its questions, prompts, scores and table.

    load -> Item -> prompt, once for every span of the video that may be seen -> the model's texts
         -> score -> Outcome -> aggregate -> the rows of the published table

The player of the videos (`eval.play`) does for every item, and for nothing beyond it:

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

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path

from eval.play.asked import Prompt
from eval.play.options import Convention
from eval.question_sets.items import Item, Outcome, Row, Texts
from eval.question_sets.option_letter import only_letter


class Benchmark(ABC):
    """One question set, or one way of asking it; `published` says where it can be had.

    Where a set or those who published its questions say how often frames are taken, `convention`
    does; elsewhere each model has its own rate, and a letter, a word or a number is asked for.
    """

    name: str
    published: str
    convention = Convention(max_tokens=128)

    @abstractmethod
    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        """The items of these tasks, else all, in the order of the files.

        Raises SettingsError if a file is missing or malformed, or a task is unknown.
        """

    @abstractmethod
    def prompt(self, item: Item) -> Prompt: ...

    def follow_up(self, item: Item, text: str | None) -> Prompt | None:
        """What is asked at once, and last, after `text` was said to a poll; None: go on."""
        return None

    def score(self, item: Item, texts: Texts) -> Outcome:
        """A question that was not asked is left out as published."""
        return self.scored(item, texts[0]) if texts else Outcome(item, None, 0.0, "not asked")

    @abstractmethod
    def scored(self, item: Item, text: str | None) -> Outcome:
        """Of the answer to a question that is put once."""

    @abstractmethod
    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """The published table; a row that needs a task without outcomes has no figures."""


def scored_choice(
    item: Item, text: str, published: bool | None, right: Collection[str] | None = None
) -> Outcome:
    """By the published rule as given, and strictly: exactly one letter, of those that are right."""
    letter = only_letter(text, len(item.options))
    is_right = letter in ([item.answer] if right is None else right)
    oddity = "" if letter else "not one letter" if text else "no answer"
    return Outcome(item, None if published is None else float(published), float(is_right), oddity)
