"""ptb_tokens: a caption's tokens in lower case, without punctuation, separated by blanks.

These are the tokens that COCO's caption evaluation makes with Stanford's PTBTokenizer (3.4.1,
`-lowerCase`): the conventions of the Penn Treebank, where the longest matching pattern wins.
Brackets stay, as `-lrb-`. What captions do not contain (smileys with letters, telephone numbers,
markup with attributes) is not reproduced. tests/data/etbench/ptb_captions.json holds the original's
output for some hundred captions.
"""

import re

_PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))

_ABBREVIATIONS = (
    "adm|al|ala|alex|apr|ariz|assn|atty|aug|ave|bldg|blvd|brig|bros|calif|capt|cf|cmdr|co|col|colo|"
    "comdr|conn|corp|cos|cpl|ct|dak|dec|dept|det|dr|drs|esq|est|etc|feb|fla|fri|ft|ga|gen|gov|govs|"
    "hon|inc|ind|insp|intl|jan|jos|jr|jul|jun|kan|ky|lieut|lt|ltd|maj|mar|md|messrs|mfg|mich|minn|"
    "mlle|mme|mo|mon|mont|mr|mrs|ms|mt|natl|neb|nev|nov|oct|okla|penn|ph|plc|pres|prof|profs|pvt|"
    "rd|rep|reps|rev|rt|sen|sens|sep|sept|sgt|sq|sr|st|ste|supt|tel|tenn|thu|thurs|tue|tues|univ|"
    "va|vs|vt|wed|wis|wm|wyo"
)
_CAPITAL_ABBREVIATIONS = "Ark|Az|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
_BEFORE_NUMBER = "art|ca|fig|no|nos|op|pp|prop"

_PART = r"[A-Za-z0-9]+"
_NUMBER = r"\d*(?:[.:,]\d+)+|\d+"
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"(?i:{_ABBREVIATIONS})\.",
        rf"(?:{_CAPITAL_ABBREVIATIONS})\.",
        rf"(?i:{_BEFORE_NUMBER})\.(?=\s*\d)",
        r"[A-Za-z]+\.(?=[,;:])",
        r"[A-Za-z]\.(?!\s*[A-Z])",
        r"[A-Za-z](?:\.[A-Za-z])+\.?(?![A-Za-z0-9])",
        r"(?i:ph\.d)\.?",
        r"https?://[^\s\"<>|(){}]+",
        r"www\.[^\s\"<>|(){},]+",
        r"[A-Za-z0-9][\w.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*",
        r"[@#][A-Za-z_]\w*",
        r"</?[A-Za-z][^\s<>]*>",
        r"[A-Za-z][A-Za-z0-9]*(?:[.!?][A-Za-z][A-Za-z0-9]*)*",
        rf"{_PART}(?:_{_PART})+",
        rf"{_PART}(?:-{_PART})*",
        rf"{_PART}(?:-[A-Za-z]+)*(?:/{_PART}(?:-[A-Za-z]+)*)+",
        r"\d+-\d+/\d+(?:-[A-Za-z]+)*",
        rf"[-+]?(?:{_NUMBER})",
        rf"(?:{_NUMBER})(?:-{_PART})+",
        r"[A-Za-z]+?n't(?![A-Za-z])",
        r"(?i:[dol]'[A-Za-z]+|c'mon|ma'am|ol'|'em|'til|'till|'cause|'n)(?![A-Za-z])",
        r"(?i:'n')",
        r"(?i:'t)(?=(?:is|was)\b)",
        r"\d+ \d+/\d+",
        r"(?i:y')(?=[A-Za-z])",
        r"'\d\ds",
        r"(?i:'(?:s|d|m|ll|re|ve))(?![A-Za-z])",
        r"[:;]-?[()]",
        r"\.(?:\s?\.){2,}",
        r"[?!]+",
        r"\*+",
        r"--+",
        r"&(?:amp|lt|gt|quot);",
        r"[cC]\+\+",
        r"``|''",
        r"\S",
    )
)
_TWO_WORDS = ("can not", "gon na", "got ta", "wan na", "lem me", "gim me")
_SPELT = {
    **{words.replace(" ", ""): words for words in _TWO_WORDS},
    "(": "-lrb-",
    ")": "-rrb-",
    "[": "-lsb-",
    "]": "-rsb-",
    "{": "-lcb-",
    "}": "-rcb-",
    "&amp;": "&",
    "&lt;": "<",
    "&gt;": ">",
    "&quot;": '"',
    '"': "''",
}


def ptb_tokens(caption: str) -> str:
    """Tokenize; characters outside ASCII become blanks first, as in the official scorer."""
    text = re.sub(r"[^\x20-\x7e]", " ", caption)
    tokens: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        token = max((found[0] for one in _PATTERNS if (found := one.match(text, at))), key=len)
        at += len(token)
        tokens += _written(token.lower())
    return " ".join(token for token in tokens if token not in _PUNCTUATION)


def _written(token: str) -> list[str]:
    if token.endswith("n't") and len(token) > 3:
        return [token[:-3], "n't"]
    if token.startswith(".") and not token.strip(". "):
        return ["..."]
    if token.startswith("--"):
        return ["--"]
    if token in (":)", ":(", ";)", ";(", ":-)", ":-(", ";-)", ";-("):
        return [token[:-1] + _SPELT[token[-1]]]
    if " " in token:  # as in "1 1/2": one token, kept whole by a no-break space
        return [token.replace(" ", "\N{NO-BREAK SPACE}")]
    return _SPELT.get(token, token).split(" ")
