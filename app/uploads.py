"""uploads_folder: keep what visitors of the page upload, for as long as the service runs.

All uploads together stay within a budget; we refuse an upload that exceeds it.

A killed service leaves its folder behind. The next service to start removes every folder that no
running service has locked.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from app.server.api_errors import ApiError, refuse
from app.server.request_guard import UPLOAD_PATH

_PREFIX = "vstream-uploads-"
_LOCK = ".lock"


@contextmanager
def uploads_folder() -> Iterator[Path]:
    """Make a folder for this process. Enter before importing Gradio, which reads the path from the
    environment, both at import and later.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_unless_held(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        with (folder / "new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (folder / "new").rename(folder / _LOCK)  # appears only once it is locked
            os.environ["GRADIO_TEMP_DIR"] = str(folder)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class UploadBound:
    """ASGI middleware in front of the page: refuse uploads that do not fit in `folder` any more. It
    also refuses uploads without a Content-Length, which every browser sends; several of those at
    once could all claim the same free space.
    """

    def __init__(self, app: ASGIApp, folder: Path, most_bytes: int) -> None:
        self._app = app
        self._folder = folder
        self._most = most_bytes
        self._coming = 0
        """Bytes announced by running uploads; some are already in the folder."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != UPLOAD_PATH:
            await self._app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        refusal = self._refusal(said)
        if refusal is not None:
            await refuse(refusal, scope, receive, send)
            return
        self._coming += int(said)
        try:
            await self._app(scope, receive, send)
        finally:
            self._coming -= int(said)

    def _refusal(self, said: bytes) -> ApiError | None:
        if not said.isdigit():
            return ApiError(411, "an upload needs a Content-Length", "length_required")
        if int(said) <= self._most - self._coming - _bytes_in(self._folder):
            return None
        most = f"{self._most / 1e9:g} GB in all (service.uploads_bytes)"
        why = f"no space left: uploads may take {most} and are kept until the service ends"
        return ApiError(413, why, "uploads_full")


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def _remove_unless_held(folder: Path) -> None:
    with suppress(OSError):  # locked, being made, or just removed by another process
        if folder.lstat().st_uid != os.getuid():
            return
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
