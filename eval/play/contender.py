"""Contender: answers in a benchmark: a memory policy, a codec and a budget, or a baseline.

    policy=NAME[,codec=NAME][,budget=SHARE][,plan=on][,SETTING=VALUE...]

The policies are the product's. With `plan=on` questions about time are answered from spans, as in
the product, without a time limit; otherwise in the model's words. Further contenders:

oracle    default, but each layer also retrieves the blocks at the ends of the evidence: as many in
          all, because the number of blocks must not reveal whether there is evidence
find      default, but `Finding` finds what a question seeks, if the benchmark has such questions
frames    as many frames as default reads blocks of, spread evenly from the first to the newest,
          encoded by themselves for every question
language  the model without a single frame
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from memory import KVMemoryError, MemoryPolicy
from memory.codecs.codec import codec_named
from memory.policies import POLICIES
from vstream import SettingsError

ALL, DEFAULT_CODEC = "all", "int8"
DEFAULT, ORACLE, FIND, FRAMES, LANGUAGE = "default", "oracle", "find", "frames", "language"
_OPENED_UNDER = {ORACLE: DEFAULT, FIND: DEFAULT, FRAMES: "full", LANGUAGE: DEFAULT}
_READ_AS_SHOWN = frozenset(("full", "streaming_llm", "uniform", "window", FRAMES))
"""Baselines: a question's words do not direct them to a moment, as they do in the product."""
_YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Contender:
    """`budget` is a share of the stream's size as bf16 keys and values, none dropped."""

    policy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    codec: str = DEFAULT_CODEC
    budget: Fraction | None = None
    plan: bool = False

    @property
    def name(self) -> str:
        parts = [self.policy]
        if self.codec != DEFAULT_CODEC:
            parts.append(self.codec)
        if self.budget is not None:
            parts.append(f"{self.budget.numerator}of{self.budget.denominator}")
        parts += ["plan"] * self.plan
        parts += [f"{key}={value}" for key, value in sorted(self.settings.items())]
        return "+".join(parts).replace("/", "_")

    @property
    def opened_under(self) -> str:
        """The product's policy under which its session is opened."""
        return _OPENED_UNDER.get(self.policy, self.policy)

    @property
    def is_watching(self) -> bool:
        """Whether a session has to watch the whole video for it."""
        return self.policy not in (FRAMES, LANGUAGE)

    @property
    def follows_times(self) -> bool:
        """Whether a question that names a moment may see only that, if the policy allows it."""
        return self.policy not in _READ_AS_SHOWN

    def shares(self, policy: MemoryPolicy) -> object:
        """Contenders that agree in this share one watching session; `policy` is the contender's
        own. One that evicts, or has a budget, has its own store.
        """
        if not self.is_watching or self.budget is not None or policy.changes_store:
            return self.name
        return policy.encoding(), self.codec


def parse_contenders(
    texts: Sequence[str],
    *,
    knows_evidence: bool = False,
    seeks: bool = False,
    own: Mapping[str, type[MemoryPolicy]] | None = None,
) -> list[Contender]:
    """Parse contenders, each as `policy=...` or in a YAML file: a list of mappings with the same
    keys.

    `policy=all` is every known policy and every baseline; `own` are a benchmark's policies. There
    is an oracle if it `knows_evidence`, and `find` if a question `seeks` something. Raises
    SettingsError.
    """
    baselines = [*[ORACLE] * knows_evidence, *[FIND] * seeks, FRAMES, LANGUAGE]
    found: list[Contender] = []
    for text in texts:
        for settings in _from_file(Path(text)) if text.endswith(_YAML) else [_told(text)]:
            found += _contenders(settings, baselines, own or {})
    if len({contender.name for contender in found}) < len(found):
        raise SettingsError(f"contender: {' '.join(texts)} names one contender twice")
    return found


def _told(text: str) -> dict[str, Any]:
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(key and equals and value for key, equals, value in pairs):
        raise SettingsError(
            f"contender: {text!r} is none; write policy=NAME and, as you like, codec=NAME, "
            "budget=SHARE (as 1/20) and settings of the policy, separated by commas"
        )
    return {key: value for key, _, value in pairs}


def _from_file(path: Path) -> list[dict[str, Any]]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise SettingsError(f"contender: {path}: {error}") from error
    if not isinstance(document, list) or not all(isinstance(one, dict) for one in document):
        raise SettingsError(f"contender: {path}: wanted a list, each with a policy")
    return document


def _contenders(
    told: dict[str, Any], baselines: Sequence[str], more: Mapping[str, type[MemoryPolicy]]
) -> list[Contender]:
    settings = dict(told)
    policy, codec = settings.pop("policy", None), settings.pop("codec", DEFAULT_CODEC)
    budget, plan = _share(settings.pop("budget", None)), settings.pop("plan", "off")
    if plan not in ("on", "off", True, False):  # YAML gives bools
        raise SettingsError(f"contender: plan {plan!r}: wanted on or off")
    is_planned = plan in ("on", True)
    known = [*POLICIES.names(), *baselines]
    if policy not in (ALL, *known, *more):
        raise SettingsError(f"contender: policy {policy!r} is none of {', '.join(known)}")
    names = [name for name in known if name != LANGUAGE] if policy == ALL else [policy]
    found = []
    try:
        codec_named(codec)
        for one in (Contender(name, settings, codec, budget, is_planned) for name in names):
            if not one.is_watching and (settings or is_planned):
                raise SettingsError(f"contender: {one.policy} has no settings")
            own = more.get(one.policy) or POLICIES.find(one.opened_under)
            own.read_settings(settings)
            if budget is None or (one.is_watching and own.card.takes_budget):
                found.append(one)
            elif policy != ALL:
                raise SettingsError(f"contender: {policy} can keep no budget: give it none")
    except KVMemoryError as error:
        raise SettingsError(f"contender: {error}") from error
    return found


def _share(told: Any) -> Fraction | None:
    if told is None:
        return None
    try:
        share = Fraction(str(told))
    except (ValueError, ZeroDivisionError):
        share = Fraction(0)
    if not 0 < share <= 1:
        raise SettingsError(f"contender: budget {told!r}: wanted a share, as 1/20 or 0.05")
    return share
