"""StreamingBench: questions at moments of a stream, some of which stand until their time comes.

Source: Lin et al., StreamingBench (arXiv 2411.03628); files, prompts, polling and counting of
github.com/THUNLP-MT/StreamingBench at 8929923. A question at t sees [t - 60 s, t] (the main table)
or [0, t] ("all context"). Sequential questions include the earlier questions with their true
answers. A proactive question stands from t on: from the second after it is put until 4 s after its
true moment, the model is asked every second whether it is time, and sees what came since the
question was put. At the first "yes", anywhere in its text, it is asked the question, the last one.

The published rule compares the first character of an answer. Missing answers are left out of its
mean; so are empty ones to sequential questions, while for all other questions the authors' counter
stops with an error: they count as wrong here. A proactive question is right if its time is within 2
s: the number in the published table, as it equals the authors' figure of times "<= 2 s". Whether
the text is right too is a separate row. The strict rule counts all questions, accepts "(A)" and "
A", and requires the time, a plain yes and the whole text.

"All" and "Overall" are pooled by question; of proactive output, they include the 51 questions of
the authors' smaller file.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from eval.play.plays import Prompt
from eval.question_sets.benchmark import Benchmark, scored_choice
from eval.question_sets.data_files import Reader, clock_s, read_items, require_files
from eval.question_sets.items import Outcome, Row, SetItem, Texts, of_group, of_task, score_row
from eval.question_sets.published import published

REAL, OMNI, CONTEXTUAL = (
    "Real-Time Visual Understanding",
    "Omni-Source Understanding",
    "Contextual Understanding",
)


@dataclass(frozen=True)
class _Task:
    published: str
    group: str
    file: str


_TASKS = {
    "OP": _Task("Object Recognition", REAL, "questions_real.json"),
    "CR": _Task("Causal Reasoning", REAL, "questions_real.json"),
    "CS": _Task("Clips Summarize", REAL, "questions_real.json"),
    "ATP": _Task("Attribute Recognition", REAL, "questions_real.json"),
    "EU": _Task("Event Understanding", REAL, "questions_real.json"),
    "TR": _Task("Text-Rich Understanding", REAL, "questions_real.json"),
    "PR": _Task("Prospective Reasoning", REAL, "questions_real.json"),
    "SU": _Task("Spatial Understanding", REAL, "questions_real.json"),
    "ACP": _Task("Action Recognition", REAL, "questions_real.json"),
    "CT": _Task("Counting", REAL, "questions_real.json"),
    "ER": _Task("Emotion Recognition", OMNI, "questions_omni.json"),
    "SCU": _Task("Scene Understanding", OMNI, "questions_omni.json"),
    "SD": _Task("Source Discrimination", OMNI, "questions_omni.json"),
    "MA": _Task("Multimodal Alignment", OMNI, "questions_omni.json"),
    "ACU": _Task("Anomaly Context Understanding", CONTEXTUAL, "questions_omni.json"),
    "MCU": _Task("Misleading Context Understanding", CONTEXTUAL, "questions_omni.json"),
    "SQA": _Task("Sequential Question Answering", CONTEXTUAL, "questions_sqa.json"),
    "PO": _Task("Proactive Output", CONTEXTUAL, "questions_proactive.json"),
}
_CODES = {task.published: code for code, task in _TASKS.items()}
_SUBSET = "questions_proactive_50.json"

_POLLED_AFTER_S = 4
_IN_TIME_S = 2
_ALL_250 = "Proactive Output, beyond the table"
"""The group of questions outside the smaller file, from which the table is made."""


class StreamingBench(Benchmark):
    """All eighteen tasks; the data directory is the authors' `src/data`."""

    published = (
        "github.com/THUNLP-MT/StreamingBench, src/data, and its videos at "
        "huggingface.co/datasets/mjuicem/StreamingBench"
    )
    tasks = tuple(_TASKS)

    def __init__(self, context_s: int | None = 60) -> None:
        """`context_s`: how much before a question may be seen; None for everything."""
        self.name = "streaming-bench" if context_s == 60 else "streaming-bench-all-context"
        self._context_s = context_s

    def files(self, data_dir: Path, tasks: Collection[str]) -> Mapping[str, Reader[SetItem]]:
        files = dict.fromkeys(_TASKS[code].file for code in tasks)
        smaller = {_SUBSET: _proactive_keys} if _TASKS["PO"].file in files else {}
        require_files(data_dir, [*files, *smaller], self.published)
        in_table = frozenset(read_items(data_dir, self.published, smaller))
        readers: dict[str, Reader[SetItem]] = {
            _TASKS["SQA"].file: self._sequence,
            _TASKS["PO"].file: partial(_proactive_items, in_table),
        }
        return {file: readers.get(file, self._choices) for file in files}

    def prompt(self, item: SetItem) -> Prompt:
        if item.task == "PO":  # it reveals the true output, as published
            is_it_time = published("streaming_is_it_time", item.question, item.answer)
            return Prompt(published("streaming_proactive", is_it_time))
        options = _lettered(item.options)
        if item.task == "SQA":
            told = item.context, item.question, *options
            return Prompt(published("streaming_choice_with_context", *told))
        return Prompt(published("streaming_choice", item.question, *options))

    def follow_up(self, item: SetItem, text: str | None) -> Prompt | None:
        is_time = item.task == "PO" and _says_yes(text)
        return Prompt(published("streaming_proactive", item.question)) if is_time else None

    def score(self, item: SetItem, texts: Texts) -> Outcome:
        is_proactive = item.task == "PO" and texts
        return _scored_proactive(item, texts) if is_proactive else super().score(item, texts)

    def scored(self, item: SetItem, text: str | None) -> Outcome:
        if not text:
            return Outcome(item, None if item.task == "SQA" else 0.0, 0.0, "empty answer")
        return scored_choice(item, text, text[0] == item.answer)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        proactive = of_task(outcomes, "PO")
        rows = [score_row(code, of_task(outcomes, code)) for code in _TASKS if code != "PO"]
        in_table = of_group(proactive, CONTEXTUAL)
        for name, several in (("PO", in_table), ("PO, all 250", proactive)):
            rows.append(score_row(name, several))
            right = f"{name}, text right, too"
            rows.append(score_row(right, several, published=lambda one: one.published_text))
        groups = {group: _whole_group(outcomes, group) for group in (REAL, OMNI, CONTEXTUAL)}
        rows += [score_row(f"{name}, All", group) for name, group in groups.items()]
        everything = chain(*groups.values()) if all(groups.values()) else ()
        return (*rows, score_row("Overall", list(everything)))

    def _choices(self, number: int, entry: dict[str, Any]) -> Iterator[SetItem]:
        first = _TASKS[_CODES[entry["questions"][0]["task_type"]]]
        kind = "real" if first.file == _TASKS["OP"].file else "omni"
        for n, question in enumerate(entry["questions"]):
            yield self._choice(f"{kind}-{number}-{n}", entry, question)

    def _sequence(self, number: int, entries: list[dict[str, Any]]) -> list[SetItem]:
        """Return the turns about one video; each includes those before it."""
        items: list[SetItem] = []
        context = ""
        for entry in entries:
            for question in entry["questions"]:
                name = f"sqa-{number}-{len(items)}"
                items.append(self._choice(name, entry, question, context))
                options = ", ".join(_lettered(question["options"]))
                turn = question["time_stamp"], question["question"], options, question["answer"]
                context = context or published("streaming_context_start")
                context += published("streaming_context_turn", *turn)
        return items

    def _choice(
        self, name: str, entry: dict[str, Any], question: dict[str, Any], context: str = ""
    ) -> SetItem:
        asked_s = clock_s(question["time_stamp"])
        seen_from_s = 0 if self._context_s is None else max(0, asked_s - self._context_s)
        task = _CODES[question["task_type"]]
        return SetItem(
            id=name,
            video_id=_video_name(entry),
            video=f"videos/{_video_name(entry)}",
            task=task,
            group=_TASKS[task].group,
            question=question["question"],
            options=tuple(question["options"][:4]),  # only four are shown
            answer=question["answer"],
            asked_s=float(asked_s),
            seen_from_s=float(seen_from_s),
            context=context,
        )


def _lettered(options: Sequence[str]) -> list[str]:
    """Return the first four options, with letters if they have none, as published."""
    if options[0].startswith("A."):
        return list(options[:4])
    return [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False)]


def _whole_group(outcomes: Sequence[Outcome], group: str) -> list[Outcome]:
    """Return all of a group, or nothing if one of its tasks has no outcomes."""
    found = of_group(outcomes, group)
    tasks = {code for code, task in _TASKS.items() if task.group == group}
    return found if {outcome.item.task for outcome in found} == tasks else []


def _proactive_keys(_: int, entry: dict[str, Any]) -> list[str]:
    """Return keys that find the smaller file's questions in the larger one."""
    name = _video_name(entry)
    return [f"{name} {one['time_stamp']} {one['question']}" for one in entry["questions"]]


def _proactive_items(
    in_table: frozenset[str], number: int, entry: dict[str, Any]
) -> Iterator[SetItem]:
    keys = _proactive_keys(number, entry)
    for n, (key, question) in enumerate(zip(keys, entry["questions"], strict=True)):
        asked_s = clock_s(question["time_stamp"])
        last_s = clock_s(question["ground_truth_time_stamp"]) + _POLLED_AFTER_S
        yield SetItem(
            id=f"proactive-{number}-{n}",
            video_id=_video_name(entry),
            video=f"videos/{_video_name(entry)}",
            task="PO",
            group=CONTEXTUAL if key in in_table else _ALL_250,
            question=question["question"],
            answer=question["ground_truth_output"],
            asked_s=float(asked_s),
            seen_from_s=float(asked_s),
            polls_s=tuple(float(second) for second in range(asked_s + 1, last_s + 1)),
        )


def _scored_proactive(item: SetItem, texts: Texts) -> Outcome:
    """Score by the first yes; a broken-off run is wrong, like silence. `published`: in time."""
    polls = texts[: len(item.polls_s)]
    spoke = next((n for n, text in enumerate(polls) if _says_yes(text)), None)
    if spoke is None:
        oddity = "" if len(polls) == len(item.polls_s) else "polling broke off"
        return Outcome(item, 0.0, 0.0, oddity, published_text=0.0)
    true_s = item.polls_s[-1] - _POLLED_AFTER_S
    is_in_time = abs(item.polls_s[spoke] - true_s) <= _IN_TIME_S
    told = texts[spoke + 1] if len(texts) > spoke + 1 else None
    is_text_in = item.answer in ((polls[spoke] if told is None else told) or "")
    words = re.escape(item.answer)
    is_whole_text = re.search(rf"(?<!\w){words}(?!\w)", told or "", re.IGNORECASE) is not None
    yes_or_no = set(re.findall(r"\w+", (polls[spoke] or "").lower())) & {"yes", "no"}
    return Outcome(
        item,
        float(is_in_time),
        float(is_in_time and is_whole_text and yes_or_no == {"yes"}),
        "no text after yes" if told is None else "",
        published_text=float(is_in_time and is_text_in),
    )


def _says_yes(text: str | None) -> bool:
    return text is not None and "yes" in text.lower()


def _video_name(entry: dict[str, Any]) -> str:
    """Return the file name, since the authors' scripts may have made the path absolute."""
    return PurePosixPath(entry["video_path"]).name
