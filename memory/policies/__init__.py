"""Memory policies, one per file: what a new block sees, what a question reads, what is kept."""

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
    """Raise ValueError unless a policy of that name (None: the default) accepts these settings."""
    try:
        POLICIES.find(name or DEFAULT).read_settings(settings)
    except (UnknownNameError, PolicyError) as error:
        raise ValueError(str(error)) from None


def policy_named(name: str, shape: ModelShape, settings: Mapping[str, Any]) -> MemoryPolicy:
    """Return the policy of that name for a model. Raises UnknownNameError, PolicyError."""
    policy = POLICIES.find(name)
    return policy(shape, policy.read_settings(settings))


def instead_of(policy: MemoryPolicy, name: str) -> MemoryPolicy:
    """Return that policy for one question, with the settings it shares with `policy`.

    Raises UnknownNameError, and PolicyError for a policy that does more than select.
    """
    kind = POLICIES.find(name)
    kind.require_readable(policy)
    known = kind.Settings.model_fields
    given = policy.settings.model_dump(exclude_unset=True)
    return policy_named(name, policy.shape, {key: given[key] for key in given if key in known})


def written_under(provenance: str) -> tuple[str, dict[str, Any]]:
    """Read from a stream's provenance the policy it was written under, and that policy's settings.

    A provenance without a policy means `default` or another policy that only selects. Raises
    PolicyError for a policy that no longer exists.
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
