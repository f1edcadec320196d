"""Hub fetch: a hub id and patterns of files as arguments in, how far it is and a directory out.

Run by vstream.models.hub_download as a file, so that it starts at once and may be killed: what
downloads in its threads listens to nobody. Each line of stdout is a JSON document: {"total": bytes
or null} once, {"done": bytes} again and again, and at last {"directory": path} or {"problem":
text}.
"""

import json
import os
import shutil
import sys
import threading
import time
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.utils.tqdm import tqdm

_BYTES_BAR = "huggingface_hub.snapshot_download"
"""The name of the bar that counts bytes of files, as they are written to the disk."""
_TELL_S = 0.1
_telling = threading.Lock()


class _Bar(tqdm):
    """Drawn nowhere; counts bytes of files."""

    done = 0
    _counting = threading.Lock()

    def __init__(self, *args: Any, **options: Any) -> None:
        self._counts = options.get("name") == _BYTES_BAR
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    def update(self, n: float | None = 1) -> bool | None:
        if self._counts:
            with _Bar._counting:
                _Bar.done += int(n or 0)
        return None


def _tell(**document: Any) -> None:
    with _telling:
        sys.stdout.write(json.dumps(document) + "\n")
        sys.stdout.flush()


def _tell_of_bytes() -> None:
    told = 0
    while True:
        time.sleep(_TELL_S)
        if told != _Bar.done:
            told = _Bar.done
            _tell(done=told)


def _total_bytes(name: str, patterns: list[str]) -> int | None:
    """Of what is not here yet; None if the hub does not say."""
    try:
        plan = snapshot_download(name, allow_patterns=patterns, dry_run=True, tqdm_class=_Bar)
    except Exception:  # noqa: BLE001  what is here already needs no hub, and else it fails next
        return None
    sizes = [one.file_size for one in plan if one.will_download]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _require_room(total: int) -> None:
    folder = HF_HUB_CACHE
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    free = shutil.disk_usage(folder).free
    if total > free:
        raise OSError(f"it has {total / 1e9:.1f} GB and the disk {free / 1e9:.1f} GB free")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Download argv[1], of it the files that fit the patterns after that."""
    for waiting in (_end_with_parent, _tell_of_bytes):
        threading.Thread(target=waiting, daemon=True).start()
    name, *patterns = sys.argv[1:]
    try:
        total = _total_bytes(name, patterns)
        _tell(total=total)
        if total is not None:
            _require_room(total)
        directory = snapshot_download(name, allow_patterns=patterns, tqdm_class=_Bar)
    except Exception as error:  # noqa: BLE001  told to whoever asked for it
        _tell(problem=f"{type(error).__name__}: {error}")
    else:
        _tell(done=_Bar.done)
        _tell(directory=directory)
    os._exit(0)  # a thread that still waits for the network is not waited for


if __name__ == "__main__":
    main()
