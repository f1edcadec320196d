"""Files of a model from the hub: a hub id in, where they lie on this disk out.

What stands in the way is told in our own words: whether the network is at fault or the name.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vstream.errors import ModelError

_WANTED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
Progress = Callable[..., Any]
"""A class of progress bars as tqdm's, which is made for each file and for all of them."""


def hub_checkpoint(
    name: str, revision: str | None = None, progress: Progress | None = None
) -> Path:
    """The folder with the checkpoint; what is not on this disk yet is fetched, from where it was
    broken off. Raises ModelError.
    """
    from huggingface_hub import snapshot_download

    with _in_our_words(name, revision):
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=_WANTED_FILES, tqdm_class=progress
            )
        )


def hub_file(name: str, file: str) -> Path:
    """One file of it, as `hub_checkpoint`."""
    from huggingface_hub import hf_hub_download

    with _in_our_words(name, None):
        return Path(hf_hub_download(name, file))


@contextmanager
def _in_our_words(name: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError:
        raise ModelError(
            f"unknown model {name!r}: the name is at fault: it is no directory here, and a hub id "
            "is written OWNER/NAME"
        ) from None
    except HfHubHTTPError as error:
        raise ModelError(_refusal(name, revision, error)) from error
    except (OSError, ValueError) as error:
        raise ModelError(_failure(name, error)) from error


def _refusal(name: str, revision: str | None, error: Any) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"model {name}: {_host()} gives it only to those who have agreed to its terms: agree "
            "on its page, and set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"unknown model {name!r}: the name is at fault: it is no directory here, and "
            f"{_host()} has no such model, or shows it only to some (HF_TOKEN)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"model {name}: the revision is at fault: {_host()} has no {revision!r} of it"
    if isinstance(error, EntryNotFoundError):
        return f"model {name}: {_host()} has no checkpoint under that name: a file is missing"
    status = error.response.status_code
    return f"model {name}: {_host()} is at fault: it answered {status}. Try again later"


def _failure(name: str, error: OSError | ValueError) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    causes = error, error.__cause__, error.__context__
    if any(isinstance(one, OfflineModeIsEnabled) for one in causes):
        return (
            f"model {name}: it is no directory here and not on this disk, and HF_HUB_OFFLINE "
            "forbids to fetch it"
        )
    if isinstance(error, LocalEntryNotFoundError | ConnectionError):
        return (
            f"model {name}: the network is at fault: {_host()} cannot be reached, and the model is "
            "neither a directory here nor on this disk. Check the network, or HF_ENDPOINT"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"model {name}: it cannot be fetched: {' '.join(reason.split())}"


def _host() -> str:
    from huggingface_hub.constants import ENDPOINT

    return os.environ.get("HF_ENDPOINT") or ENDPOINT
