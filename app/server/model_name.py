"""named_model: what a caller calls a model in, the place of its checkpoint out, or a refusal.

A caller names a hub id, the model that comes along, or a directory by its whole path that lies in
one of `allow_files`; the operator's own model may always be named as the operator does. A name that
is no path is never looked for on the disk. What is loaded is data: configuration, vocabulary and
safetensors. Code that lies beside is not run (`trust_remote_code` is never set), pickles are not
read, and an adapter, which names another place to load from, is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from app.server.api_errors import ApiError
from vstream.models.video_llm import EMBEDDED
from vstream.models.weights import embedded_weights
from vstream.sources.permission import SourcePolicy

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class NamedModel:
    """A model under the name that was given."""

    name: str
    directory: Path | None
    """None: it is a hub id."""


def named_model(name: str, configured: str | None, policy: SourcePolicy) -> NamedModel:
    """`configured` is what the operator calls the model of this service; None is embedded.

    Raises ApiError for a directory that is not open to callers, and for what is no name.
    """
    if name == EMBEDDED:
        return NamedModel(name, embedded_weights())
    if name == configured and Path(name).expanduser().is_dir():
        return NamedModel(name, Path(name).expanduser())
    if name.startswith("/"):
        return NamedModel(name, _allowed(name, policy))
    if not _HUB_ID.fullmatch(name):
        raise _refusal("name a hub id as org/name, a directory by its whole path, or `embedded`")
    return NamedModel(name, None)


def _allowed(name: str, policy: SourcePolicy) -> Path:
    try:
        real = Path(name).resolve()
    except (OSError, RuntimeError, ValueError):  # links in a circle, NUL characters
        raise _refusal("this path leads nowhere") from None
    if not policy.allows_path(real):
        raise _refusal("the directory lies outside those in allow_files")
    return real


def _refusal(reason: str) -> ApiError:
    return ApiError(422, f"model: {reason}", "model_forbidden", param="model")
