"""One file a memory policy: what a new block sees, what a question reads, what stays."""

import json
import re
from collections.abc import Mapping
from typing import Any

from memory.errors import PolicyError, UnknownNameError
from memory.policies.policy import MemoryPolicy, ModelShape
from memory.registry import Registry

POLICIES = Registry(MemoryPolicy, "vstream.policies", "memory policy")
DEFAULT = "default"
_REPLACED = {"captions": "goldfish"}


def require_policy(name: str | None, settings: Mapping[str, Any]) -> None:
    """Raises ValueError unless there is a policy of that name (None: default) that takes these."""
    try:
        POLICIES.find(name or DEFAULT).told(settings)
    except (UnknownNameError, PolicyError) as error:
        raise ValueError(str(error)) from None


def policy_named(name: str, shape: ModelShape, settings: Mapping[str, Any]) -> MemoryPolicy:
    """The policy of that name for a model. Raises UnknownNameError, PolicyError."""
    policy = POLICIES.find(name)
    return policy(shape, policy.told(settings))


def instead_of(policy: MemoryPolicy, name: str) -> MemoryPolicy:
    """That policy for one question, with what it shares with `policy`. Raises UnknownNameError,
    PolicyError for one that does not only select.
    """
    kind = POLICIES.find(name)
    kind.require_readable(policy)
    known = kind.Settings.model_fields
    told = policy.settings.model_dump(exclude_unset=True)
    return policy_named(name, policy.shape, {key: told[key] for key in told if key in known})


def written_under(provenance: str) -> tuple[str, dict[str, Any]]:
    """The policy that a stream was written under, and its settings, by what the stream says. A
    stream that names none was written under `default`, or under one that only selects. Raises
    PolicyError for one that is no more.
    """
    if named := re.search(r" policy=([^\s{]+)(\{.*\})", provenance):
        if (successor := _REPLACED.get(named[1])) is not None:
            raise PolicyError(
                f"the stream was written under policy {named[1]}, which {successor} has replaced: "
                f"its notes cannot be read any more; ingest it again under {successor}"
            )
        return named[1], json.loads(named[2])
    if tokens := re.search(r" window=(\d+)(?: |$)", provenance):
        return "rekv", {"window_tokens": int(tokens[1])}
    return DEFAULT, {}
