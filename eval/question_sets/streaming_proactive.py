"""The proactive questions of StreamingBench stand, and are polled for until it is time.

Source: as streaming_bench.py. From the second after it is put until 4 s after its true moment the
model is asked every second whether it is time, and sees what came since it was put. At the first
"yes", anywhere in what it says, it is asked the question and that is the end of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from eval.play.asked import Prompt
from eval.question_sets.data_files import clock_s
from eval.question_sets.items import Item, Outcome, Texts

POLLED_AFTER_S = 4
IN_TIME_S = 2
ALL_250 = "Proactive Output, beyond the table"
"""The group of the questions that are not in the smaller file, which the table is made of."""
_PROACTIVE = (
    "You are an advanced image question-answering AI assistant. You have been provided with images "
    "and a question related to the images. Your task is to carefully analyze the images and "
    "provide the answer to the question. You need to carefully confirm whether the images content "
    "meet the conditions of the question, and then output the correct content.\n\n"
    "Question: {}\n\nThe answer is:\n"
)
_IS_IT_TIME = '{} Is it the right time to output "{}"? You can only answer yes or no.'


@dataclass(frozen=True)
class ProactiveOutcome(Outcome):
    """`published` is whether it spoke in time; None in both: it was never asked."""

    published_text: float | None = None


def poll_prompt(item: Item) -> Prompt:
    """What is put every second; it tells the true output, as published."""
    return Prompt(_PROACTIVE.format(_IS_IT_TIME.format(item.question, item.answer)))


def final_prompt(item: Item, text: str | None) -> Prompt | None:
    """The question itself, if `text` says that it is time."""
    return Prompt(_PROACTIVE.format(item.question)) if _says_yes(text) else None


def proactive_keys(_: int, entry: dict[str, Any]) -> list[str]:
    """By which the smaller file's questions are found in the larger one."""
    return [_proactive_key(entry, question) for question in entry["questions"]]


def _proactive_key(entry: dict[str, Any], question: dict[str, Any]) -> str:
    return f"{video_name(entry)} {question['time_stamp']} {question['question']}"


def proactive_items(
    in_table: frozenset[str], group: str, number: int, entry: dict[str, Any]
) -> Iterator[Item]:
    """The questions of an entry; those whose key is `in_table` count in `group`."""
    for n, question in enumerate(entry["questions"]):
        asked_s = clock_s(question["time_stamp"])
        last_s = clock_s(question["ground_truth_time_stamp"]) + POLLED_AFTER_S
        is_known = _proactive_key(entry, question) in in_table
        yield Item(
            id=f"proactive-{number}-{n}",
            video_id=video_name(entry),
            video=f"videos/{video_name(entry)}",
            task="PO",
            group=group if is_known else ALL_250,
            question=question["question"],
            answer=question["ground_truth_output"],
            asked_s=float(asked_s),
            seen_from_s=float(asked_s),
            polls_s=tuple(float(second) for second in range(asked_s + 1, last_s + 1)),
        )


def scored_proactive(item: Item, texts: Texts) -> ProactiveOutcome:
    """The first yes is when it spoke; a run that broke off before is wrong, as silence is."""
    if not texts:
        return ProactiveOutcome(item, None, 0.0, "not asked")
    polls = texts[: len(item.polls_s)]
    spoke = next((n for n, text in enumerate(polls) if _says_yes(text)), None)
    if spoke is None:
        is_whole = len(polls) == len(item.polls_s)
        oddity = "" if is_whole else "polling broke off"
        return ProactiveOutcome(item, 0.0, 0.0, oddity, published_text=0.0)
    true_s = item.polls_s[-1] - POLLED_AFTER_S
    is_in_time = abs(item.polls_s[spoke] - true_s) <= IN_TIME_S
    told = texts[spoke + 1] if len(texts) > spoke + 1 else None
    is_text_in = item.answer in ((polls[spoke] if told is None else told) or "")
    words = re.escape(item.answer)
    is_whole_text = re.search(rf"(?<!\w){words}(?!\w)", told or "", re.IGNORECASE) is not None
    yes_or_no = set(re.findall(r"\w+", (polls[spoke] or "").lower())) & {"yes", "no"}
    return ProactiveOutcome(
        item,
        float(is_in_time),
        float(is_in_time and is_whole_text and yes_or_no == {"yes"}),
        "no text after yes" if told is None else "",
        published_text=float(is_in_time and is_text_in),
    )


def _says_yes(text: str | None) -> bool:
    return text is not None and "yes" in text.lower()


def text_of(outcome: Outcome) -> float | None:
    """Whether it spoke in time and said the true text, as published."""
    return outcome.published_text if isinstance(outcome, ProactiveOutcome) else None


def video_name(entry: dict[str, Any]) -> str:
    """The authors' scripts may have made the path absolute."""
    return PurePosixPath(entry["video_path"]).name
