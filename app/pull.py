"""`vstream pull`: download a checkpoint from the hub and verify it."""

import shutil
from pathlib import Path

from app.in_words import as_size
from app.terminal import Terminal
from vstream.errors import ModelError
from vstream.models.hub import hub_checkpoint, require_checksums
from vstream.models.known_models import known_model


def pull_model(terminal: Terminal, model: str, revision: str | None) -> None:
    """Download the model, with progress bars on a terminal, and print its folder. Resumes partial
    downloads. Raises ModelError.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    if Path(model).expanduser().is_dir():
        raise ModelError(f"{model} is a local directory: there is nothing to pull")
    if (known := known_model(model)) is not None:
        model = known.hub_id
        there = next(one for one in Path(HF_HUB_CACHE, "x").parents if one.exists())
        free = shutil.disk_usage(there).free
        terminal.say(f"{model}: {as_size(known.disk_bytes)} into {HF_HUB_CACHE}")
        if free < known.disk_bytes:
            terminal.say(f"only {as_size(free)} free there")
    folder = hub_checkpoint(model, revision, shows_progress=terminal.err.is_terminal)
    with terminal.loading("verifying checksums"):
        require_checksums(model, folder)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    terminal.say(f"revision {folder.name}, {as_size(size)}, all checksums match")
    taken = model if revision is None else folder
    terminal.say(f"use it with --model {taken}")
    terminal.document(str(folder))
