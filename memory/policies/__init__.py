"""One file a memory policy: what a new block sees, what a question reads, what stays."""

import json
import re
from collections.abc import Mapping
from typing import Any

from memory.policies.policy import MemoryPolicy, ModelShape
from memory.registry import Registry

POLICIES = Registry(MemoryPolicy, "vstream.policies", "memory policy")
DEFAULT = "default"


def policy_named(name: str, shape: ModelShape, settings: Mapping[str, Any]) -> MemoryPolicy:
    """The policy of that name for a model. Raises UnknownNameError, PolicyError."""
    policy = POLICIES.find(name)
    return policy(shape, policy.told(settings))


def written_under(provenance: str) -> tuple[str, dict[str, Any]]:
    """The policy that a stream was written under, and its settings, by what the stream says.

    A stream that names none was written under `default`, or under one that only selects.
    """
    if named := re.search(r" policy=(\w+)(\{.*\})", provenance):
        return named[1], json.loads(named[2])
    if tokens := re.search(r" window=(\d+)(?: |$)", provenance):
        return "rekv", {"window_tokens": int(tokens[1])}
    return DEFAULT, {}


def encoding_in(provenance: str) -> str:
    """How a stream says that its blocks are made, as `str(Encoding)` does."""
    return " ".join(re.findall(r"(?:window|drop)=\S+", provenance))
