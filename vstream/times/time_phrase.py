"""time_phrase: finds the phrases of a question that name clock time, by form and parts.

A number is a time only with am, pm, a colon or a unit, and a time of day only after a word like
`at` or beside a day: `is the score 2 to 3` and `does the sign say 2 pm` name none. English only.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from vstream.times.day_words import DAY, LENGTH, PART, SHORT_LENGTH, spaced, stands_alone
from vstream.times.time_of_day import CLOCK, HOUR

Form = Literal["between", "clock", "iso", "ago", "day", "last", "part"]
"""If two fit the same words, the first one counts: `last week` is that of the calendar."""
_ISO = r"(?:\d{4}-\d\d-\d\d[t\s]\d\d:\d\d(?::\d\d(?:[.]\d{1,6})?)?(?:z|[+-]\d\d:?\d\d)?)(?![:.]?\d)"
_DASH, _QUOTE = "[-\N{EN DASH}]", "['\N{RIGHT SINGLE QUOTATION MARK}]"
_WORD = (
    r"(?:(?P<near>at around|at about|around|about|near)|(?P<since>since|from|after|less than)"
    r"|(?P<until>before|by|until|till|up to|more than|over)|(?P<at>at|in|during|throughout))"
)
_END = (
    rf"(?P<iso>{_ISO})|(?P<whole_day>{DAY})"
    rf"|(?:(?P<day>{DAY}) (?:at )?)?(?P<clock>{CLOCK}|{HOUR})(?: (?P<its_day>{DAY}))?"
)
_ANY_END = re.sub(r"\?P<\w+>", "?:", _END)
_TO = rf"(?:\s*{_DASH}\s*| (?:and|to|until|till) )"
_PATTERNS: dict[Form, str] = {
    "between": rf"(?:(?P<day>{DAY}) (?:(?:between|from) )?|(?:between|from) )"
    rf"(?P<first>{_ANY_END}){_TO}(?P<last>{_ANY_END})",
    "clock": rf"(?:(?P<day>{DAY}) )?(?:{_WORD} )?(?P<clock>{CLOCK})(?: (?P<its_day>{DAY}))?",
    "iso": rf"(?:{_WORD} )?(?P<iso>{_ISO})",
    "ago": rf"(?:{_WORD} )?(?P<length>{SHORT_LENGTH}) ago",
    "last": r"(?:(?:(?:in|within|during|over|for|from|of) )?the |(?:in|within|during|over|for) )?"
    rf"(?:last|past|previous) (?P<length>{LENGTH})(?! of\b)",
    "day": rf"(?:{_WORD} )?(?P<day>{DAY})",
    "part": rf"(?:in|during) the (?P<part>{PART})(?=\s*(?:[?.!,;]|$))",
}
_BEGINS = rf"(?<![\w:./+-])(?<!{_QUOTE})"
_ENDS = rf"(?!\w|{_QUOTE}\w|-\w|\s*{_DASH}\s*\d)"
_FORMS = {
    form: re.compile(rf"{_BEGINS}(?:{spaced(_PATTERNS[form])}){_ENDS}", re.IGNORECASE)
    for form in get_args(Form)
}
_END_PARTS = re.compile(spaced(_END), re.IGNORECASE)
_AT_THE = re.compile(r"\bat\s+(?:the\s+)?$", re.IGNORECASE)


@dataclass(frozen=True)
class TimePhrase:
    """The words of a phrase by part, and the day that stands elsewhere, if there is one."""

    form: Form
    parts: dict[str, str]
    span: tuple[int, int]

    def __getitem__(self, part: str) -> str:
        """Return the words of a part; none if it has no such part."""
        return self.parts.get(part, "")

    @property
    def day(self) -> str:
        """The words of its day."""
        return self["day"] or self["its_day"]

    @property
    def is_about(self) -> bool:
        """Whether it means the time that it names, not one before, after or around it."""
        return not (self["near"] or self["since"] or self["until"])


def time_phrases(text: str) -> list[TimePhrase]:
    """Return them from left to right; of several at one place, the longest."""
    return _joined(list(_chosen(text)))


def end_parts(words: str) -> dict[str, str]:
    """Split an end of a `between` into `iso`, `clock`, `day`, `its_day` and `whole_day`."""
    found = _END_PARTS.fullmatch(words)
    assert found is not None, "it is made of the same"
    return _there(found)


def _chosen(text: str) -> Iterator[TimePhrase]:
    found = [
        TimePhrase(form, _there(match), match.span())
        for form, pattern in _FORMS.items()
        for match in pattern.finditer(text)
    ]
    taken = 0
    for phrase in sorted(found, key=lambda one: (one.span[0], -one.span[1])):
        if phrase.span[0] >= taken and _is_time(phrase, text):
            taken = phrase.span[1]
            yield phrase


def _is_time(phrase: TimePhrase, text: str) -> bool:
    has_word = bool(phrase["at"]) or not phrase.is_about
    if phrase.form == "clock":
        return has_word or bool(phrase.day)
    if phrase.form == "day":
        return has_word or stands_alone(phrase["day"])
    if phrase.form == "last":
        return _AT_THE.search(text[: phrase.span[0]]) is None  # at the last minute
    if phrase.form == "between":  # a bare number is an hour only beside a whole time of day
        clocks = [end_parts(phrase[end]).get("clock", "") for end in ("first", "last")]
        bare = [clock.isdigit() for clock in clocks]
        return not any(bare) or (not all(bare) and all(clocks))
    return True


def _joined(phrases: list[TimePhrase]) -> list[TimePhrase]:
    """Join two: `who came yesterday to the door between 2 and 3 pm?` names one time."""
    if len(phrases) == 2:
        for day, clock in (phrases, phrases[::-1]):
            has_ends = clock.form in ("between", "clock") and not clock.day
            if has_ends and day.form == "day" and day.is_about:
                return [TimePhrase(clock.form, {**clock.parts, "day": day["day"]}, clock.span)]
    return phrases


def _there(match: re.Match[str]) -> dict[str, str]:
    return {part: words for part, words in match.groupdict().items() if words}
