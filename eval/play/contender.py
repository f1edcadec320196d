"""Contender: a name as `default+int4` or `language` in, who answers and what is played out."""

from dataclasses import dataclass
from typing import get_args

from eval.stream_benchmark.policy import Base, Policy, parse_policy
from vstream import SettingsError

LANGUAGE = "language"
_NEEDS_TRUTH = ("oracle",)
NAMES = (*(base for base in get_args(Base) if base not in _NEEDS_TRUTH), LANGUAGE)


@dataclass(frozen=True)
class Contender:
    """A policy of memory; None is the model asked without a single frame."""

    name: str
    policy: Policy | None

    @property
    def is_watching(self) -> bool:
        """Whether a session has to watch all of the video for it."""
        return self.policy is not None and self.policy.has_memory

    @property
    def plays(self) -> str:
        """Contenders that agree in this can be asked while one session watches."""
        return self.policy.blocks if self.policy and self.is_watching else self.name


def parse_contenders(text: str) -> list[Contender]:
    """By name, separated by commas. Raises SettingsError."""
    found = [_parse(name.strip()) for name in text.split(",")]
    if len({contender.name for contender in found}) < len(found):
        raise SettingsError(f"policy: {text} names one policy twice")
    return found


def _parse(name: str) -> Contender:
    if name == LANGUAGE:
        return Contender(name, None)
    policy = parse_policy(name)
    if policy.base in _NEEDS_TRUTH:
        raise SettingsError(f"policy: {policy.base} needs to know where the evidence is")
    return Contender(name, policy)
