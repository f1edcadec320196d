"""ModelChanges: another model's name in; it is loaded beside the one that answers, and takes over.

One change at a time, in a thread. Whatever fails before the new model has taken over leaves the old
one as it was, and the document of the change says why.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.server.api_errors import ApiError
from app.server.documents import ModelChange
from app.server.model_name import NamedModel
from memory import KVMemoryError
from vstream.device.free_memory import leave_out_of_collections, return_free_memory
from vstream.errors import VStreamError
from vstream.models.hub_download import HubDownload
from vstream.models.video_llm import WANTED_FILES, VideoLLM

_log = structlog.get_logger()
_LONGEST_REASON = 600
Load = Callable[[Path], VideoLLM]


class ModelChanges:
    """May be used from any thread."""

    def __init__(self, switch: Callable[[VideoLLM], None]) -> None:
        """`switch` puts a loaded model in the place of the one that answers, or raises."""
        self._switch = switch
        self._told = ModelChange(state="idle")
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._download: HubDownload | None = None
        self._is_closed = False

    @property
    def told(self) -> ModelChange:
        """The newest change, as it stands."""
        return self._told

    def begin(self, named: NamedModel, load: Load) -> ModelChange:
        """Change to `named`, which `load` loads from its directory. Raises ApiError while another
        change goes on.
        """
        with self._lock:
            if self._is_closed or self._told.state not in ("idle", "done", "failed"):
                raise ApiError(
                    409, f"{self._told.model} is being loaded: wait for its end", "model_loading"
                )
            hub = named.directory is None
            self._download = HubDownload(named.name, WANTED_FILES) if hub else None
            self._told = begun = ModelChange(
                state="downloading" if hub else "loading", model=named.name, started_at=time.time()
            )
            change = threading.Thread(
                target=self._change, args=(named, load), name="model", daemon=True
            )
            self._thread = change
            change.start()
            return begun

    @property
    def is_running(self) -> bool:
        """Whether a model is being downloaded, loaded or put in the other's place."""
        return self._thread is not None and self._thread.is_alive()

    def close(self, until: float) -> None:
        """Begin no more, and wait for the one that goes on until `until`, in `time.monotonic`
        seconds; a switch is waited for to its end. Weights that are still being read then are never
        switched to.
        """
        with self._lock:
            self._is_closed = True
            change, download = self._thread, self._download
        if download is not None:
            download.stop()
        if change is not None:
            change.join(max(0.0, until - time.monotonic()))
            if self._told.state == "switching":
                change.join()

    def _change(self, named: NamedModel, load: Load) -> None:
        try:
            self._load_and_switch(named, load)
        except Exception as error:  # noqa: BLE001  told to whoever asks
            reason = " ".join(str(error).split())[:_LONGEST_REASON]
            if not isinstance(error, VStreamError | KVMemoryError | ApiError):
                _log.exception("changing the model failed", model=named.name)
                reason = f"cannot use the model {named.name}: {type(error).__name__}: {reason}"
            _log.warning("model not changed", model=named.name, reason=reason)
            self._say(state="failed", error=reason, finished_at=time.time())
        else:
            _log.info("model changed", model=named.name)
            self._say(state="done", finished_at=time.time())
        leave_out_of_collections()  # and let one of the two models go
        return_free_memory()

    def _load_and_switch(self, named: NamedModel, load: Load) -> None:
        directory = named.directory
        if directory is None:
            assert self._download is not None
            directory = self._download.run(
                lambda done, total: self._say(done_bytes=done, total_bytes=total)
            )
            self._say(state="loading")
        model = load(directory)
        self._say(state="switching")
        self._switch(model)

    def _say(self, **changed: Any) -> None:
        self._told = self._told.model_copy(update=changed)
