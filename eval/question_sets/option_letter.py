"""only_letter: an answer in, the one option letter that it names out; the strict rule of all sets.

The published rules read a letter out of nearly anything, each in its own way ("ABCD" may be always
right, "Because ..." may be B). This one wants exactly one:

1. A letter by itself in any case, with or without punctuation, is that option.
2. Else capitals that stand alone count, but for an A that begins a phrase. One kind: that option.
3. Several kinds: the first, if it is the only one that is marked by a . ) or : after it.
4. Otherwise, no option.
"""

import re

_ALONE = re.compile(r"[\W_]*([A-Za-z])[\W_]*")
_STANDING = re.compile(r"(?<![^\W_])([A-Z])(?![^\W_])([.):]?)")
_ARTICLE = re.compile(r"(?<![^\W_])A(?= (?!and\b|or\b)[a-z])")


def only_letter(text: str, num_options: int) -> str | None:
    """One of the first `num_options` capitals, or None."""
    options = [chr(ord("A") + n) for n in range(num_options)]
    alone = _ALONE.fullmatch(text)
    if alone:
        return alone[1].upper() if alone[1].upper() in options else None
    found = [each for each in _STANDING.finditer(_ARTICLE.sub("", text)) if each[1] in options]
    if len({each[1] for each in found}) > 1:
        marked = {each[1] for each in found if each[2]}
        return found[0][1] if marked == {found[0][1]} else None
    return found[0][1] if found else None
