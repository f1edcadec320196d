"""Model files from the hub: finds a checkpoint on this disk by its hub id, or downloads it.

Errors say in our own words what stands in the way: the network, or the name.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vstream.errors import ModelError

_WANTED_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


def hub_checkpoint(name: str, revision: str | None = None, *, shows_progress: bool = False) -> Path:
    """Return the checkpoint's folder. Downloads what is not on this disk, resuming what was broken
    off, and shows the hub's own progress bars if wanted. Raises ModelError.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if shows_progress else disable_progress_bars)()

    with _in_our_words(name, revision):
        return Path(snapshot_download(name, revision=revision, allow_patterns=_WANTED_FILES))


def hub_file(name: str, file: str) -> Path:
    """Return one file of it, like `hub_checkpoint`."""
    from huggingface_hub import hf_hub_download

    with _in_our_words(name, None):
        return Path(hf_hub_download(name, file))


def require_checksums(name: str, folder: Path) -> None:
    """Compare with the hub's checksums and remove files that differ. Raises ModelError."""
    from huggingface_hub import HfApi

    with _in_our_words(name, folder.name):
        found = HfApi().verify_repo_checksums(name, revision=folder.name)
    for wrong in found.mismatches:
        (folder / wrong["path"]).resolve().unlink(missing_ok=True)
    if found.mismatches:
        names = ", ".join(wrong["path"] for wrong in found.mismatches)
        raise ModelError(
            f"model {name}: {names}: not what {_host()} has, so it was removed: pull it again"
        )


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
    except (OSError, ValueError) as error:
        causes = error, error.__cause__, error.__context__
        refusal = next((one for one in causes if isinstance(one, HfHubHTTPError)), None)
        why = _failed(error) if refusal is None else _refused(refusal, revision)
        raise ModelError(f"model {name}: {why}") from error


def _refused(error: Any, revision: str | None) -> str:
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, GatedRepoError):
        return (
            f"{_host()} gives it only to those who have agreed to its terms: agree on its page "
            "there, and set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"the name is at fault: it is no directory here, and {_host()} has no such model, or "
            "shows it only to some (HF_TOKEN)"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"the revision is at fault: {_host()} has no {revision!r} of it"
    if isinstance(error, EntryNotFoundError):
        return f"{_host()} has no checkpoint under that name: a file is missing"
    return f"{_host()} is at fault: it answered {error.response.status_code}. Try again later"


def _failed(error: OSError | ValueError) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled) or isinstance(error.__cause__, OfflineModeIsEnabled):
        return (
            "it is no directory here and not on this disk, and HF_HUB_OFFLINE forbids to fetch it"
        )
    if isinstance(error, LocalEntryNotFoundError | ConnectionError):
        return (
            f"the network is at fault: {_host()} cannot be reached, and the model is neither a "
            "directory here nor whole on this disk. Check the network, or HF_ENDPOINT"
        )
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"it cannot be fetched: {' '.join(reason.split())}"


def _host() -> str:
    from huggingface_hub.constants import ENDPOINT

    return ENDPOINT
