"""published: a prompt in its authors' words, by the name that it has in `prompts.yaml`."""

from functools import cache
from importlib.resources import files

import yaml


def published(name: str, *filled_in: str) -> str:
    text = _prompts()[name]
    return text.format(*filled_in) if filled_in else text


@cache
def _prompts() -> dict[str, str]:
    text = files("eval.question_sets").joinpath("prompts.yaml").read_text(encoding="utf-8")
    prompts: dict[str, str] = yaml.safe_load(text)
    return prompts
