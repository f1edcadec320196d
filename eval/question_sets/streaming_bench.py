"""StreamingBench: its annotations in, questions at moments of a stream and their scores out.

Source: Lin et al., StreamingBench (arXiv 2411.03628); files, prompts, polling and counting of
github.com/THUNLP-MT/StreamingBench at 8929923. A question at t sees [t - 60 s, t] (the main table)
or [0, t] ("all context"). Sequential questions are told the earlier questions with their true
answers. A proactive one stands from t on and is polled for (streaming_proactive.py).

The published rule compares the first character of an answer. Answers that are missing are left out
of its mean; so are empty ones to sequential questions, while for all other questions the authors'
counter stops with an error: they count as wrong here. A proactive question is right if its time is
within 2 s: that is the number in the published table, as its equality with the authors' figure of
times "<= 2 s" shows. Whether the text is right, too, is a row of its own. The strict rule counts
all questions, takes "(A)" and " A", and wants time, a plain yes and the whole text.

"All" and "Overall" are pooled by question; proactive output enters them by the 51 questions of the
authors' smaller file.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.question_sets.benchmark import Item, Outcome, Prompt, Texts
from eval.question_sets.data_files import (
    clock_s,
    read_annotations,
    read_entries,
    require_tasks,
    wanted,
)
from eval.question_sets.option_letter import only_letter
from eval.question_sets.score_rows import of_group, of_task, score_row
from eval.question_sets.streaming_proactive import (
    ProactiveOutcome,
    final_prompt,
    poll_prompt,
    proactive_items,
    proactive_keys,
    scored_proactive,
    text_row,
    video_name,
)
from eval.question_sets.streaming_prompts import (
    CHOICE,
    CHOICE_WITH_CONTEXT,
    CONTEXT_START,
    CONTEXT_TURN,
)
from eval.question_sets.table import Row

PUBLISHED = (
    "github.com/THUNLP-MT/StreamingBench, src/data, and its videos at "
    "huggingface.co/datasets/mjuicem/StreamingBench"
)
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


class StreamingBench:
    """All eighteen tasks; the data directory is the authors' `src/data`."""

    published = PUBLISHED

    def __init__(self, context_s: int | None = 60) -> None:
        """`context_s`: how much before a question may be seen; None for everything."""
        self.name = "streaming-bench" if context_s == 60 else "streaming-bench-all-context"
        self._context_s = context_s

    def load(self, data_dir: Path, tasks: Collection[str] = ()) -> list[Item]:
        require_tasks(tasks, tuple(_TASKS))
        files = list(dict.fromkeys(_TASKS[code].file for code in tasks or _TASKS))
        if _TASKS["PO"].file in files:
            files.append(_SUBSET)
        documents = dict(zip(files, read_annotations(data_dir, files, PUBLISHED), strict=True))
        keys = read_entries(_SUBSET, documents.pop(_SUBSET, []), proactive_keys)
        in_table = frozenset(key for several in keys for key in several)
        items: list[Item] = []
        for file, document in documents.items():
            if file == _TASKS["SQA"].file:
                found = read_entries(file, document, self._sequence)
            elif file == _TASKS["PO"].file:
                found = read_entries(file, document, partial(proactive_items, in_table, CONTEXTUAL))
            else:
                found = read_entries(file, document, self._choices)
            items += [item for several in found for item in several]
        return list(wanted(items, tasks))

    def prompt(self, item: Item) -> Prompt:
        if item.task == "PO":
            return poll_prompt(item)
        options = _lettered(item.options)
        if item.task == "SQA":
            return Prompt(CHOICE_WITH_CONTEXT.format(item.context, item.question, *options))
        return Prompt(CHOICE.format(item.question, *options))

    def follow_up(self, item: Item, text: str | None) -> Prompt | None:
        return final_prompt(item, text) if item.task == "PO" else None

    def score(self, item: Item, texts: Texts) -> Outcome:
        if item.task == "PO":
            return scored_proactive(item, texts)
        if not texts:
            return Outcome(item, None, 0.0, "not asked")
        text = texts[0]
        if not text:
            return Outcome(item, None if item.task == "SQA" else 0.0, 0.0, "empty answer")
        letter = only_letter(text, 4)
        oddity = "" if letter else "not one letter"
        return Outcome(item, float(text[0] == item.answer), float(letter == item.answer), oddity)

    def aggregate(self, outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
        proactive = [o for o in outcomes if isinstance(o, ProactiveOutcome)]
        in_table = [o for o in proactive if o.item.group == CONTEXTUAL]
        rows = [score_row(code, of_task(outcomes, code)) for code in _TASKS if code != "PO"]
        rows += [
            score_row("PO", in_table),
            text_row("PO, text right, too", in_table),
            score_row("PO, all 250", proactive),
            text_row("PO, all 250, text right, too", proactive),
        ]
        groups = [_whole_group(outcomes, group) for group in (REAL, OMNI, CONTEXTUAL)]
        names = (f"{group}, All" for group in (REAL, OMNI, CONTEXTUAL))
        rows += [score_row(name, group) for name, group in zip(names, groups, strict=True)]
        everything = [outcome for group in groups for outcome in group] if all(groups) else []
        return (*rows, score_row("Overall", everything))

    def _choices(self, number: int, entry: dict[str, Any]) -> list[Item]:
        kind = "real" if _TASKS[_code(entry)].file == _TASKS["OP"].file else "omni"
        return [
            self._choice(f"{kind}-{number}-{n}", entry, question)
            for n, question in enumerate(entry["questions"])
        ]

    def _sequence(self, number: int, entries: list[dict[str, Any]]) -> list[Item]:
        """The turns about one video; each is told those before it."""
        items: list[Item] = []
        context = ""
        for entry in entries:
            for question in entry["questions"]:
                name = f"sqa-{number}-{len(items)}"
                items.append(self._choice(name, entry, question, context))
                options = ", ".join(_lettered(question["options"]))
                context = (context or CONTEXT_START) + CONTEXT_TURN.format(
                    question["time_stamp"], question["question"], options, question["answer"]
                )
        return items

    def _choice(
        self, name: str, entry: dict[str, Any], question: dict[str, Any], context: str = ""
    ) -> Item:
        asked_s = clock_s(question["time_stamp"])
        seen_from_s = 0 if self._context_s is None else max(0, asked_s - self._context_s)
        task = _CODES[question["task_type"]]
        return Item(
            id=name,
            video_id=video_name(entry),
            video=f"videos/{video_name(entry)}",
            task=task,
            group=_TASKS[task].group,
            question=question["question"],
            options=tuple(question["options"]),
            answer=question["answer"],
            asked_s=float(asked_s),
            seen_from_s=float(seen_from_s),
            context=context,
        )


def _code(entry: dict[str, Any]) -> str:
    return _CODES[entry["questions"][0]["task_type"]]


def _lettered(options: Sequence[str]) -> list[str]:
    """As published: the first four are shown, with letters if they have none."""
    if options[0].startswith("A."):
        return list(options[:4])
    return [f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False)]


def _whole_group(outcomes: Sequence[Outcome], group: str) -> list[Outcome]:
    """Of a group all, or nothing if one of its tasks has no outcomes."""
    found = of_group(outcomes, group)
    tasks = {code for code, task in _TASKS.items() if task.group == group}
    return found if {outcome.item.task for outcome in found} == tasks else []
