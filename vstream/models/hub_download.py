"""HubDownload: a hub id in, the directory of its checkpoint out, with bytes as they come."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from vstream.errors import ModelError

_FETCH = Path(__file__).with_name("hub_fetch.py")
_LONGEST_REASON = 300


class HubDownload:
    """One download, in a process of its own. `stop` may be called from any thread."""

    def __init__(self, name: str, patterns: Sequence[str]) -> None:
        """Of the checkpoint's files only those that fit one of `patterns` are wanted."""
        self._name = name
        self._command = [sys.executable, "-P", str(_FETCH), name, *patterns]
        self._process: subprocess.Popen[str] | None = None
        self._is_stopped = False
        self._lock = threading.Lock()

    def run(self, on_progress: Callable[[int, int | None], None]) -> Path:
        """Return once all is here. `on_progress` is told bytes that came and bytes wanted of what
        was not here; the latter None while it is not known.

        Raises ModelError, also when it is stopped.
        """
        with self._lock:
            if self._is_stopped:
                raise ModelError(f"the download of {self._name} was stopped")
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, encoding="utf-8"
            )  # fmt: skip
        done, total, problem = 0, None, "it broke off"
        with self._process as process:
            assert process.stdout is not None
            for line in process.stdout:
                told = json.loads(line)
                if "directory" in told:
                    return Path(told["directory"])
                problem = told.get("problem", problem)
                done, total = told.get("done", done), told.get("total", total)
                on_progress(done, total)
        if self._is_stopped:
            raise ModelError(f"the download of {self._name} was stopped")
        reason = " ".join(problem.split())[:_LONGEST_REASON]
        raise ModelError(
            f"the hub does not give {self._name!r} ({reason}); check the name and the network"
        )

    def stop(self) -> None:
        """End it; what came so far is kept for the next time."""
        with self._lock:
            self._is_stopped = True
            if self._process is not None:
                self._process.kill()
