"""time_question: reads from a question what it wants to know about which statements.

Its words say so, wherever they stand: how often, how long, when first, when last, which came first,
whether ever, and while, before or after what. Words that name a time of the stream or of a clock
have been taken out before. A question that is not understood is left to the model.
"""

import re
from dataclasses import dataclass
from typing import Literal

from vstream.planning.clause import STATE, Clause, clause_of, thing_of

Kind = Literal["first", "last", "when", "count", "length", "ever", "order"]
Relation = Literal["while", "before", "after"]

_MANNERS = (
    r"(?:(?:hey|hi|hello|so(?! far)|ok|okay|and|alright|well|excuse me|um|sorry|pardon|please|just"
    r"|kindly|quickly|(?:quick|one) question|chronologically|summed up|ever)\b"
    r"|(?:can|could|would|will) you\b|(?:do you (?:happen to )?know|any idea|got an idea)\b"
    r"|(?:i want|i need|i would like|i'd like)(?: you)? to(?: know)?\b"
    r"|(?:i wonder|i am wondering|i was wondering|i'm wondering|i'm not sure|are you able to)\b"
    r"|(?:tell|show|give)(?: me)?\b|(?:say|find out|work out|check|confirm|name|state|report)\b"
    r"|(?:think|look) back(?: and)?\b|if you (?:look|think) back\b|is it (?:true|right) that\b"
    r"|find the(?= (?:time|moment|point|last|latest|final|most))|if\b|whether\b)[\s,:.!]*"
)
_OPENING = re.compile(_MANNERS, re.IGNORECASE)
_CLOSING = re.compile(r"[\s,:;.!?]+(?:please|thanks|thank you)?[\s.!?]*$", re.IGNORECASE)
_EXTENT = re.compile(
    r"[\s,]*\b(?:so far|until now|up to now|till now|since the (?:start|beginning)"
    r"|in total|in all|altogether|overall"
    r"|(?:add )?(?:all )?(?:its |the )?visits together|when you add (?:it|them) (?:all )?up)\b",
    re.IGNORECASE,
)
_SIGHTINGS = r"(?:appearances|sightings|arrivals|visits|times|occasions|occurrences)"
_IS = r"(?:(?:what|when) (?:is|was) )?"
_WORDS_OF: dict[Kind, str] = {
    "count": r"how (?:often|many times|frequently)"
    rf"|(?:on )?how many(?= {_SIGHTINGS})(?: times| occasions)?"
    rf"|{_IS}(?:the )?(?:total )?(?:number|count) of(?: the)?(?= {_SIGHTINGS})"
    rf"|count(?: the| of)?(?= {_SIGHTINGS})|count how (?:often|many times)",
    "length": r"(?:add up )?(?:for )?how long(?! (?:ago|into))"
    r"|(?:for )?how many (?:seconds|minutes|hours)|how much time|add up the (?:time|seconds)"
    rf"|{_IS}(?:the )?(?:total (?:time|seconds|duration|length)|duration)"
    r"|count the (?:time|seconds|minutes)",
    "when": r"(?:but )?(?:until |till |since )?when(?: was it(?: when)?)?"
    r"|(?:at )?(?:what|which) (?:time|point|moment|timestamp)(?: (?:was|is) it)?(?: when)?"
    rf"|{_IS}(?:the )?(?:time|moment|point)(?: when| at which| of)"
    r"|how (?:early|soon)|how long ago|how (?:long|far) into the \w+",
}
_KINDS = {
    kind: re.compile(rf"\b(?:{words})(?!\w)", re.IGNORECASE) for kind, words in _WORDS_OF.items()
}
_ASKS_WHETHER = re.compile(r"(?:was|were|has|have|had|did|could)\s", re.IGNORECASE)
_EVER = re.compile(
    r"\b(?:ever|already|yet|(?:at )?any time|at some point"
    r"|in the (?:whole )?(?:video|stream|footage))\b",
    re.IGNORECASE,
)
_LAST = re.compile(
    r"\b(?:last|latest|final|most recent(?:ly)?|until when|leave|disappear|vanish|go away"
    r"|left(?<!top left)(?<!middle left)(?<!bottom left)(?<!the left)|disappeared|vanished)\b",
    re.IGNORECASE,
)
_FIRST = re.compile(
    r"\b(?:first|initially|originally|earliest|how early|how soon)\b", re.IGNORECASE
)
_ONE_SIGHTING = re.compile(
    rf"{_IS}(?:the )?(?:first|last|latest|final|most recent) (?:time|moment|point|sighting"
    r"|appearance|arrival|visit|glance|seen|shown|visible|there|noticed|spotted)\b",
    re.IGNORECASE,
)
_FIRST_OF_TWO = re.compile(r"\b(?:first|earlier|sooner|before the other)\b", re.IGNORECASE)
_ONE_OF_TWO = re.compile(
    r"\b(?:which(?: one)?(?: of the two)?|the (?:first|earlier) (?:one|of)|the one that|who|what"
    r"|(?:was|is) it|pick|choose|compare|of the pair|of(?= the)|between|the other|one(?= of)"
    r"|(?<=\s)one(?=[,:]|$)|before(?= the other)|first|earlier|sooner)(?!\w)",
    re.IGNORECASE,
)
_CONNECTIVES: dict[Relation, str] = {
    "while": r"(?:while|(?:at a time |at the time )?when(?:ever)?|as long as)",
    "before": r"before",
    "after": r"(?:after|since)",
}
_TIME_WITH = (
    r"(?:(?:check|search|think of|during|in) )?(?:all )?the time (?:of|with|when|that) "
    r"(.+?)(?:[,:]| for\b) ?(.+)"
)
_MEANWHILE = r"(.+?),? and (.+ (?:in the meantime|meanwhile|at that time|then|too))"
_TOGETHER = re.compile(
    r"(?:[\s,]*\b(?:together|at the same time|at once|simultaneously)\b)(?! (?:as|with))(.*)",
    re.IGNORECASE,
)
_WITH = re.compile(
    r"\s(?:(?:together|simultaneously) with|at the same time as|overlap with)\s", re.IGNORECASE
)
_AND_OR = re.compile(r"\s+(?:or|and)\s+", re.IGNORECASE)
_ASKED_AS = re.compile(_IS, re.IGNORECASE)
_PAST = re.compile(r"\b(?:was|were|did|has|have|had|came|saw|left|went|\w{3,}ed)\b", re.IGNORECASE)
"""Without one of these, `when` asks about the future, as in `tell me when an owl appears`."""
_EDGES = " ,:;.!?-"
_MOST_LETTERS = 300


@dataclass(frozen=True)
class TimeQuestion:
    """`clauses` has one, or two for `order`. `relation` relates it to when `other` is true."""

    kind: Kind
    clauses: tuple[Clause, ...]
    relation: Relation | None = None
    other: Clause | None = None


def time_question(text: str, names_time: bool = False) -> TimeQuestion | None:
    """Return None if it is not understood. One that `names_time` asks whether it was so then."""
    if len(text) > _MOST_LETTERS:
        return None
    said = _without_manners(text).strip(_EDGES)
    plain = " ".join(_EXTENT.sub(" ", said).split()).strip(_EDGES)
    return _order(plain) or _related(plain) or _plain(plain, names_time or plain != said)


def _without_manners(text: str) -> str:
    said = " ".join(text.split())
    while True:
        left = _CLOSING.sub("", _OPENING.sub("", said, 1) if _OPENING.match(said) else said)
        if left == said:
            return said
        said = left


def _plain(text: str, is_of_past: bool) -> TimeQuestion | None:
    kind, rest = _kind_of(text)
    if kind is None and _ASKS_WHETHER.match(text) and (is_of_past or _EVER.search(text)):
        kind = "ever"
    clause = kind and clause_of(rest)
    return TimeQuestion(kind, (clause,)) if kind and clause else None


def _kind_of(text: str) -> tuple[Kind | None, str]:
    """Return the kind, None for a yes-or-no question and others, and the text without its words."""
    for kind, words in _KINDS.items():
        if found := words.search(text):
            rest = f"{text[: found.start()]} {text[found.end() :]}".strip(_EDGES)
            which = _which_time(text) if kind == "when" else kind
            return (None, "") if which == "when" and not _PAST.search(text) else (which, rest)
    is_fragment = _ONE_SIGHTING.search(text) and not _ASKS_WHETHER.match(text)
    return (_which_time(text), _ASKED_AS.sub("", text, count=1)) if is_fragment else (None, text)


def _which_time(text: str) -> Kind:
    if _LAST.search(text):
        return "last"
    return "first" if _FIRST.search(text) else "when"


def _order(text: str) -> TimeQuestion | None:
    parts = _AND_OR.split(text)
    is_asked = _FIRST_OF_TWO.search(text) and not re.search(r"\b(?:when|how)\b", text, re.I)
    if not is_asked or len(parts) != 2:
        return None
    one, other = (thing_of(_ONE_OF_TWO.sub(" ", part)) for part in parts)
    return TimeQuestion("order", (one, other)) if one and other else None


def _related(text: str) -> TimeQuestion | None:
    parts = _WITH.split(text)
    if _TOGETHER.search(text):
        parts = _AND_OR.split(_TOGETHER.sub(r" \1", text))
    things = [thing for thing in map(thing_of, parts) if thing]
    if len(parts) == len(things) == 2:
        return TimeQuestion("ever", (things[0],), "while", things[1])
    for relation, main, other in _halves(text):
        kind, rest = _kind_of(main)
        clause, against = clause_of(rest), clause_of(other)
        if kind is None and not _ASKS_WHETHER.match(main) and relation != "while":
            continue
        if clause is not None and against is not None:
            return TimeQuestion(kind or "ever", (clause,), relation, against)
    return None


def _halves(text: str) -> list[tuple[Relation, str, str]]:
    """Return all ways to split it: the relation, what is asked, and the other part."""
    found: list[tuple[Relation, str, str]] = []
    for relation, words in _CONNECTIVES.items():
        for between in re.finditer(rf"(?<=\s){words}\s", text, re.IGNORECASE):
            found.append((relation, text[: between.start()], text[between.end() :]))
        leads = rf"{words} (.+?(?:[,:](?=\s)|\b{STATE}(?=\s))) ?(.+)"
        if led := re.match(leads, text, re.IGNORECASE):
            found.append((relation, led[2], led[1]))
    for other_first in (_TIME_WITH, _MEANWHILE):
        if led := re.match(other_first, text, re.IGNORECASE):
            found.append(("while", led[2], led[1]))
    return found
