"""Benchmark: a published question set with its questions, prompts, scores and table.

    load -> SetItem -> prompt, once for every span of the video that may be seen -> the texts of
         the model -> score -> Outcome -> aggregate -> the rows of the published table

For every item, the video player (`eval.play`) does exactly this:

    texts = []
    for span in item.spans:                       # one, or one per poll
        texts.append(ask(benchmark.prompt(item), span))
        if (final := benchmark.follow_up(item, texts[-1])) is not None:
            texts.append(ask(final, span))
            break
    outcome = benchmark.score(item, texts)

A frame may be shown for a span only if span.start_s <= its stream second <= span.end_s, and a
question sees only those other questions and answers that the benchmark itself puts into its prompt.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from eval.play.options import Convention
from eval.play.plays import Prompt
from eval.question_sets.data_files import Reader, of_tasks, read_items, require_tasks
from eval.question_sets.items import Outcome, Row, SetItem, Texts

_ALONE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_STANDING = re.compile(r"(?<![^\W_])([A-Z])(?![^\W_])([.):]?)")
_ARTICLE = re.compile(r"(?<![^\W_])A(?= (?!and\b|or\b)[a-z])")


class Benchmark(ABC):
    """One question set, or one way of asking it; `published` says where to get it. `convention`
    holds the frame rate if the set or its publishers state one; otherwise each model uses its own
    rate, and a letter, a word or a number is expected.
    """

    name: str
    published: str
    tasks: Sequence[str] = ()
    convention = Convention(max_tokens=128)

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[SetItem]:
        """Return the items of these tasks, else all, in file order. Raises SettingsError."""
        require_tasks(tasks, self.tasks)
        files = self.files(data_dir, tasks or self.tasks)
        return of_tasks(read_items(data_dir, self.published, files), tasks)

    @abstractmethod
    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        """Return the files with these tasks' questions, each with the reader of its entries."""

    @abstractmethod
    def prompt(self, item: SetItem) -> Prompt: ...

    def follow_up(self, item: SetItem, text: str | None) -> Prompt | None:
        """Return the last prompt, put at once after `text` answered a poll; None: keep polling."""
        return None

    def score(self, item: SetItem, texts: Texts) -> Outcome:
        """Score an item; a question that was not asked is left out of the published mean."""
        return self.scored(item, texts[0]) if texts else Outcome(item, None, 0.0, "not asked")

    @abstractmethod
    def scored(self, item: SetItem, text: str | None) -> Outcome:
        """Score the answer to a question that is put once."""

    @abstractmethod
    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        """Return the published table; a row with a task without outcomes has no figures."""


def scored_choice(
    item: SetItem, text: str, published: bool | None, right: Collection[str] | None = None
) -> Outcome:
    """Score by the published rule, as given, and strictly: one letter, among the right ones."""
    letter = only_letter(text, len(item.options))
    is_right = letter in ([item.answer] if right is None else right)
    oddity = "" if letter else "not one letter" if text else "no answer"
    return Outcome(item, None if published is None else float(published), float(is_right), oddity)


def only_letter(text: str, num_options: int) -> str | None:
    """Return the one option that an answer names, as a capital, or None: the strict rule of all
    sets.

    The published rules read a letter out of nearly anything, each in its own way ("ABCD" may be
    always right, "Because ..." be B). This one wants exactly one:

    1. A single letter of either case, with or without punctuation, is that option.
    2. Else capitals that stand alone count, except an A that starts a phrase. One kind: that one.
    3. Several kinds: the first, if only it is marked by a . ) or : after it.
    4. Otherwise, no option.
    """
    options = [chr(ord("A") + n) for n in range(num_options)]
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper() if alone[1].upper() in options else None
    found = [each for each in _STANDING.finditer(_ARTICLE.sub("", text)) if each[1] in options]
    if len({each[1] for each in found}) > 1:
        marked = {each[1] for each in found if each[2]}
        return found[0][1] if marked == {found[0][1]} else None
    return found[0][1] if found else None
