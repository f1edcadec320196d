"""only: what of an OpenAI parameter is understood here in, a check that refuses all else out.

What would change an answer is refused rather than ignored; what says the default is let through.
"""

import json
from typing import Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

UNSUPPORTED = "unsupported_parameter"
"""The error's code, as OpenAI has it."""


def only(*understood: Any) -> BeforeValidator:
    """For the annotation of a field: these values, or none."""

    def check(value: Any) -> Any:
        if value is None or any(value == one and type(value) is type(one) for one in understood):
            return value
        told = " or ".join(json.dumps(one) for one in understood if one or one == 0)
        problem = f"only {told} is supported here" if told else "not supported here: leave it out"
        raise PydanticCustomError(UNSUPPORTED, "{problem}", {"problem": problem})

    return BeforeValidator(check)
