"""uploads_folder: where the page keeps what its visitors upload, for as long as the service runs.

A service that was killed leaves its folder behind; the next one that starts removes every folder
that no living service holds locked.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = "vstream-uploads-"
_LOCK = ".lock"


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """A folder of this process alone. To be entered before Gradio is imported, which is told of it
    by its environment, and looks there at its import as well as later.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_unless_held(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "new").rename(folder / _LOCK)  # it is there once it is held
            os.environ["GRADIO_TEMP_DIR"] = str(folder)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_unless_held(folder: Path) -> None:
    try:
        if folder.lstat().st_uid != os.getuid():
            return
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # held, being made, or just removed by somebody else
        return
