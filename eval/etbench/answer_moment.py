"""Answer moment: the text of a vhd answer in, the one time that it names out."""

import re

from eval.etbench.answer_times import CLOCK, seconds_of
from eval.etbench.mend import Mend, Mends
from eval.etbench.official_crash import OfficialCrash

_SIGNED = re.compile(r"[-+]?\d*\.\d+|[-+]?\d+")
_TIME = rf"(?:{CLOCK}|\d+\.\d+|\.\d+|\d+)"
_UNIT = r"\s*(?:s|secs?|seconds?)\b"
_MARKED = re.compile(
    rf"\bat (?:(?:around|about|approximately) )?({_TIME})"
    rf"|(?<![\w.:,])({_TIME})(?=(?:\s*-\s*{_TIME})?{_UNIT})"
    rf"|(?<![\w.:,])({CLOCK})",
    re.IGNORECASE,
)
_PLAIN = re.compile(rf"(?<![\w.])(?:(?<!\w)[-+])?{_TIME}")


def answer_moment(answer: object, mends: Mends) -> float | None:
    """Seconds; None if the answer names no time, or with its mend no clear one."""
    if not isinstance(answer, str):
        raise OfficialCrash("TypeError", f"the answer is {type(answer).__name__}, not text")
    if Mend.MOMENT_MUST_BE_CLEAR in mends:
        return _clear_moment(answer, mends)
    if Mend.CLOCK_TIMES in mends and (clock := re.search(CLOCK, answer)):
        return seconds_of(clock[0], mends)
    first = _SIGNED.search(answer)
    return None if first is None else float(first[0])


def _clear_moment(answer: str, mends: Mends) -> float | None:
    marked = _MARKED.search(answer)
    if marked is not None:
        return seconds_of(marked[1] or marked[2] or marked[3], mends)
    plain = _PLAIN.findall(answer)
    return seconds_of(plain[0], mends) if len(plain) == 1 else None
