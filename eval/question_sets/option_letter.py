"""only_letter: an answer in, the one option letter that it names out; the strict rule of all sets.

The published rules read a letter out of nearly anything, each in its own way ("ABCD" may be always
right, "Because ..." may be B). This one wants exactly one:

1. A letter by itself in any case, with or without punctuation, is that option.
2. Else marked capitals count: those before . ) : , ; / or the end of a line. One kind: that option.
3. Without marked ones, capitals that stand alone count, but for an A that begins a phrase.
4. Several kinds, or none: no option.
"""

import re

_ALONE = re.compile(r"\W*([A-Za-z])\W*")
_MARKED = re.compile(r"(?<![^\W_])([A-Z])(?=\s*(?:$|[.):,;/]))", re.MULTILINE)
_STANDING = re.compile(r"(?<![^\W_])([A-Z])(?![^\W_])")
_ARTICLE = re.compile(r"(?<![^\W_])A(?= [a-z])")


def only_letter(text: str, num_options: int) -> str | None:
    """One of the first `num_options` capitals, or None."""
    options = [chr(ord("A") + n) for n in range(num_options)]
    alone = _ALONE.fullmatch(text)
    if alone:
        letters = {alone[1].upper()}
    else:
        letters = set(_MARKED.findall(text)) & set(options)
        if not letters:
            letters = set(_STANDING.findall(_ARTICLE.sub("", text)))
    named = letters & set(options)
    return named.pop() if len(named) == 1 else None
