"""drawn_statement: turns a statement about a drawing into questions that check it.

The embedded model was trained to say whether a drawing is there, what color it has, where it is and
what the scene is. Asked whether there is a red star, it only says whether there is a star
(docs/find.md). So each part of a statement is checked by itself, in words that the model knows.
"""

import re

from encoders.check import Check

_PLACE = r"(?P<place>(?:top|middle|bottom) (?:left|center|right)|center)"
_COLOR = r"(?P<color>red|orange|yellow|green|blue|purple|pink|white|black|brown)"
_SCENE = r"(?P<scene>beach|forest|city|night sky|snow|room)"
_WORD = r"(?!(?:is|are|it|there|now|at|in|on|against|with|not|no|you)\b)[\w-]+"
_STATEMENT = re.compile(
    r"(?:are there (?:any )?|(?:tell me when (?:you see )?|is (?:there )?|are )?(?:an?|the|any) )"
    rf"(?:{_COLOR} )?(?P<name>{_WORD}(?: {_WORD}){{0,2}}?)(?: is| are)?"
    rf"(?: (?:at|in) the {_PLACE}| (?:in|on|against) the {_SCENE})?"
    r"(?: is| are)?(?: there)?(?: now)?[?.!]?",
    re.IGNORECASE,
)
_IN_VIEW = re.compile(r"\b(?:there|see)\b", re.IGNORECASE)
_COLOR_LEAST, _WHERE_LEAST, _SCENE_LEAST, _NAME_LEAST = 0.7, 0.6, 0.9, 0.25
"""A nearby place gets less than that; without a scene the model guesses one; what is there hardly
ever gets less, what only looks like it seldom gets as much. Measured: docs/find.md.
"""


def drawn_checks(statement: str) -> list[Check]:
    """Return the checks of a statement; an empty list for statements of another kind."""
    said = _STATEMENT.fullmatch(" ".join(statement.split()))
    if said is None or not (said["place"] or said["scene"] or _IN_VIEW.search(statement)):
        return []
    name = said["name"]
    thing = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    checks = [Check(f"tell me when you see {thing}")]
    if said["color"]:
        checks.append(Check(f"what color is the {name}?", said["color"].lower(), _COLOR_LEAST))
    if said["place"]:
        checks.append(Check(f"where is the {name} now?", said["place"].lower(), _WHERE_LEAST))
    if said["scene"]:
        checks.append(Check("what is the scene?", said["scene"].lower(), _SCENE_LEAST))
    checks.append(Check("what do you see now?", least=_NAME_LEAST, name=name.lower()))
    return checks
