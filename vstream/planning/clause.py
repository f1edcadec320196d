"""clause: turns the words in which people say what was so into a statement for a model to judge.

Words that only say that a thing was in view, such as `did the owl appear`, `you saw the owl` or
`the owl was visible`, or that only name it, become `is there an owl?`. In others the tense changes:
`was the gate open` becomes `is the gate open now?`, `did the dog bark` `does the dog bark now?`.
English only. Words that speak of `it`, or ask what or who, are no statement.
"""

import re
from dataclasses import dataclass

_PICTURE = r"(?:picture|screen|frame|image|view|shot|video|display|footage|camera|stream)"
STATE = (
    r"(?:seen|shown|visible|there|here|present|around|displayed|detected|noticed|spotted|found"
    rf"|recorded|sighted|depicted|in (?:view|sight)|on (?:screen|camera)|(?:in|on) the {_PICTURE})"
)
"""Words that say no more of a thing than that it was in view."""
_APPEAR = (
    r"(?:appear(?:s|ed)?|sho(?:w|ws|wed|wn) up|turn(?:s|ed)? up|pop(?:s|ped)? up|arrive[sd]?"
    r"|(?:come|comes|came)(?: (?:into view|in|back|by|and (?:go|goes|went|gone)))?"
    r"|enter(?:s|ed)?|emerge[sd]?|return(?:s|ed)?|stay(?:s|ed)?|happen(?:s|ed)?)"
)
_LEAVE = (
    r"(?:leaves?|(?<!top )(?<!middle )(?<!bottom )(?<!the )left|disappear(?:s|ed)?"
    r"|vanish(?:es|ed)?|depart(?:s|ed)?|(?:go|goes|went|gone) away)"
)
_SEE = (
    r"(?:see|saw|seen|seeing|notice[d]?|spot(?:ted)?|make out|made out|find|found|recogni[sz]ed?"
    r"|detect(?:ed)?|encounter(?:ed)?|observe[d]?|glimpse[d]?|(?:catch|caught) sight of|had|have)"
)
_WHICH_TIME = r"(?:first|last|latest|final|most recent|total|overall)"
_SIGHTING = (
    rf"(?:the )?(?:{_WHICH_TIME} (?:time|moment|point)(?: (?:of|with|for|that|when))?"
    rf"|(?:{_WHICH_TIME} )?(?:time|times|moment|point|seconds|minutes|hours) (?:of|with|for|that)"
    rf"|(?:{_WHICH_TIME} )?(?:appearances?|sightings?|arrivals?|visits?|glances?|presence)"
    r"(?: (?:of|for|by|were there|had|have|made?))?)"
)
_BE = r"(?:was|were|did|does|has|have|had)"
_YOU = r"(?:you|we|i)(?! been)(?: (?:ever|already|first|last|have))*"
_YOU_SAW = rf"(?:{_BE} |could )?(?:{_YOU}(?: {_SEE})?|(?:anyone|anybody) {_SEE})"
_SEEN = rf"(?:being |to be |been )?{STATE}|{_APPEAR}|{_YOU_SAW}|{_SEE}|{_SIGHTING}"
_LOOSE = (
    r"(?:(?<!on )(?<!in )(?<!at )(?<!of )it|that|and|so|but|of|with|for|its|been|be|all|do|makes?"
    r"|made|is|at which|ever|already|yet|also|too|as well|then|again|at all|in the meantime"
    r"|meanwhile|(?:at )?any time|initially|originally|finally|earlier|most recently"
    r"|for the (?:first|last) time|first|last)"
)
_SPACE = r"[\s,:;.!?-]*"
_FRONT = re.compile(
    rf"(?:(?P<is_there>(?:{_BE} )?there|{_SEEN})|(?P<be>{_BE})|(?P<loose>{_LOOSE}))"
    rf"(?=$|[\s,:;.!?-]){_SPACE}",
    re.IGNORECASE,
)
_BACK = re.compile(
    rf"(?:^|(?<=[\s,:;.!?-]))(?:(?P<is_over>{_LEAVE})|(?P<is_there>{_SEEN})|(?P<be>{_BE})"
    rf"|(?P<loose>{_LOOSE})){_SPACE}$",
    re.IGNORECASE,
)
_DETERMINER = r"(?:the|a|an|any|some|one|my|our|your|his|her|their|this|that|these|those|no)"
_PREPOSITION = r"(?:at|in|on|of|with|by|against|near|under|behind|from|to|beside|over|into|and)"
_BEFORE_A_THING = re.compile(r"(?:^|\s)(\S+)\s+(?:the|a|an)\b", re.IGNORECASE)
_NOUN = re.compile(rf"(?:{_DETERMINER}\s+)?(.*?)(?:\s+{_PREPOSITION}\b.*)?", re.IGNORECASE)
_UNCLEAR = re.compile(
    r"\b(?:it|he|she|they|them|him|you|we|i|me|what|who|whom|whose|which|where|when|why|how|if"
    r"|whether|or|but|while|before|after|because|than|was|were|is|are|did|does|do|has|have|had"
    r"|been|be|will|would|could|should|can|until|since|times?|moment|point|seconds?|minutes?|hours?"
    r"|days?|tell|list|describe|explain|summari[sz]e|write|count)\b|\d[:h]\d",
    re.IGNORECASE,
)
_MANY = re.compile(r"(?:(?<![siu])s|\bchildren|\bpeople|\b(?:wo)?men)$", re.IGNORECASE)
_STATIVE = re.compile(r"\s(been|spend|stay)\s", re.IGNORECASE)
_SIGHTING_ADVERB = re.compile(r"(?<!the )\b(?:first|last|ever|already) ", re.IGNORECASE)
_TENSE = {"was": "is", "were": "are", "has": "is", "have": "are", "had": "is"}
_MOST_WORDS = 12


@dataclass(frozen=True)
class Clause:
    """A `statement` for the model, and the `words` of the person who asks, if these name a thing.
    `is_over` asks when it ceased to be true, as in `the man left`.
    """

    statement: str
    words: str = ""
    is_over: bool = False


def clause_of(text: str) -> Clause | None:
    """Return what `text` says was so, as a question or not; None if that is unclear."""
    core, be, is_there, is_over = _stripped(text)
    if is_there or is_over or not be:
        return _thing(core, is_over) or _declared(core)
    return _asked(be, core)


def thing_of(text: str) -> Clause | None:
    """Return the thing that `text` names, as one in view; None if that is unclear."""
    core, _, _, is_over = _stripped(text)
    return _thing(core, is_over)


def _stripped(text: str) -> tuple[str, str, bool, bool]:
    """Return what is left without the words around it; the first `was`, `did` or `has` before it;
    whether they say that it was in view (`the owl was, too`), and whether that it ceased to be.
    """
    core, be, is_there, is_over = text.strip(" ,:;.!?-"), "", False, False
    while core:
        if found := _FRONT.match(core):
            core = core[found.end() :]
            be = be or (found["be"] or "").lower()
            is_there = is_there or bool(found["is_there"])
        elif found := _BACK.search(core):
            core = core[: found.start()].rstrip(" ,:;.!?-")
            is_there = is_there or bool(found["is_there"] or found["be"])
            is_over = is_over or bool(found["is_over"])
        else:
            break
    return core, be, is_there, is_over


def _thing(words: str, is_over: bool) -> Clause | None:
    """Return None for words that may name no thing. `the dog the cat` names two."""
    if not words or _UNCLEAR.search(words) or len(words.split()) > _MOST_WORDS:
        return None
    before = (found[1].lower() for found in _BEFORE_A_THING.finditer(words))
    if not all(re.fullmatch(_PREPOSITION, word) for word in before):
        return None
    return Clause(_in_view(words), words, is_over)


def _in_view(thing: str) -> str:
    """Turn `the owl`, `any owl` or `owl` into `is there an owl?`."""
    noun = _NOUN.fullmatch(thing)
    is_many = noun is not None and _MANY.search(noun[1]) is not None
    be = "are" if is_many else "is"
    first, _, rest = thing.partition(" ")
    if re.fullmatch(r"the|a|an|any|some|one", first, re.IGNORECASE) and rest:
        thing = rest
    elif re.fullmatch(_DETERMINER, first, re.IGNORECASE) or first[:1].isupper():
        return f"{be} {thing} there?"
    article = "" if is_many else "an " if thing[0].lower() in "aeiou" else "a "
    return f"{be} there {article}{thing}?"


def _asked(be: str, core: str) -> Clause | None:
    thing, verb, state = _STATIVE.split(core, 1) if _STATIVE.search(core) else (core, "", "")
    if verb and (be in ("did", "does")) == (verb != "been"):
        return _clear(f"{thing} {state}", f"is {thing} {state} now?")
    if be in ("did", "does"):
        without_article = re.sub(rf"^{_DETERMINER}\s+", "", core, flags=re.IGNORECASE)
        does = "do" if _MANY.search(without_article.split(" ")[0]) else "does"
        return _clear(without_article, f"{does} {core} now?")
    return _clear(core, f"{_TENSE[be]} {core} now?") if be in ("was", "were") else None


def _declared(core: str) -> Clause | None:
    """Read a statement such as `the gate was open`."""
    said = re.fullmatch(r"(.+?)\s+(was|were|(?:has|have|had) been)\s+(.+)", core, re.IGNORECASE)
    if said is None:
        return None
    thing, be, state = said[1], said[2].split()[0].lower(), said[3]
    return _clear(f"{thing} {state}", f"{thing} {_TENSE[be]} {state} now")


def _clear(words: str, statement: str) -> Clause | None:
    """Return None if there are too few or too many words, or they may mean anything."""
    is_clear = 1 < len(words.split()) <= _MOST_WORDS and not _UNCLEAR.search(words)
    return Clause(_SIGHTING_ADVERB.sub("", statement)) if is_clear else None
