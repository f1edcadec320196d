"""Mend: one evident bug of the official E.T. Bench scorer, and what the strict score does instead.

The published score is scored with no mend, the strict one with all of them; a test takes one alone.
The numbers are those of docs/etbench.md.
"""

from enum import Enum


class Mend(Enum):
    """The value is the number and one sentence for the report."""

    WRONG_LETTER_FINAL = (
        1,
        "A wrong letter is a wrong answer; officially rar, eca and rvq then pick the option most "
        "like the answer's text.",
    )
    REFUSALS_COUNT_IN_EVS = (
        2,
        "An evs answer without times counts as 0; officially it is left out of the mean, so that "
        "refusing raises the score.",
    )
    REFUSALS_COUNT_IN_SIM = (
        3,
        "A dvc or slc answer that cannot be read counts as 0 in the caption similarity; officially "
        "it is left out of it.",
    )
    UNMATCHED_CAPTION_IS_ZERO = (
        4,
        "A caption whose time matches no event has similarity 0; officially it is compared with an "
        "unseeded random string.",
    )
    TRAILING_DOTS = (
        5,
        "`5 to 12...` is read as 5 to 12; officially the number raises and ends the whole run.",
    )
    CLOCK_TIMES = (
        6,
        "`01:05` is 65 seconds; officially the digits around the hyphen are read as seconds.",
    )
    EVERY_SAMPLE_OF_A_VIDEO = (
        7,
        "Each dvc or slc sample counts; officially the last one of a video replaces the others.",
    )
    CAPTION_FOLLOWS_ITS_TIME = (
        8,
        "A caption belongs to the time in front of it; officially a preamble or a very short "
        "caption shifts all captions against the times.",
    )
    START_TIME_WORDS = (
        9,
        "`start time 1, end time 5` is read; officially that branch always fails.",
    )
    ARTICLE_IS_NO_LETTER = (
        10,
        "`A person ...` names no option; officially it is read as option A.",
    )
    SUMMARY_OF_ANY_LENGTH = (
        11,
        "A summary is compared over the whole video; officially what lies beyond 1000 seconds is "
        "dropped.",
    )
    MOMENT_MUST_BE_CLEAR = (
        12,
        "Of several numbers in a vhd answer the one marked as a time is read, and none if none "
        "is marked; officially the first number wins.",
    )
    TASKS_BY_NAME = (
        15,
        "A merged number names its tasks and is absent if one of them is; officially it is made "
        "by position, and shifts.",
    )

    @property
    def number(self) -> int:
        """The bug's number."""
        return self.value[0]

    @property
    def sentence(self) -> str:
        """What is done, and what the official scorer does."""
        return self.value[1]


Mends = frozenset[Mend]
PUBLISHED: Mends = frozenset()
STRICT: Mends = frozenset(Mend)
