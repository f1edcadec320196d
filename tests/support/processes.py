"""Real `vstream` processes, to be talked to, stopped and killed: what they print is collected."""

import re
import signal
import threading
import time
from pathlib import Path

import psutil
import warm_start

TELLS_ALL = "import app.ingest; app.ingest._TOLD_EVERY_S = 0; from app.cli import main; main()"
"""A script for `-c`: `vstream`, but `ingest` says at once what was acknowledged."""


class Process:
    """`vstream ARGUMENTS` with its output in `out` and `err`, line by line as it comes.

    `module` is another one to run than that of `vstream`; `warm` is as in `warm_start`.
    """

    def __init__(self, *arguments, module="app", warm=True, **environment):
        self._process = warm_start.start(module, *arguments, environment=environment, warm=warm)
        self.out, self.err = [], []
        self._readers = [
            threading.Thread(target=self._collect, args=pair, daemon=True)
            for pair in ((self._process.stdout, self.out), (self._process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self):
        return self._process.poll() is None

    @property
    def pid(self):
        return self._process.pid

    @property
    def acknowledged(self):
        """Blocks, as the newest line on stdout says."""
        told = [re.match(r"acknowledged blocks=(\d+) ", line) for line in self.out]
        return int(told[-1][1]) if told else 0

    def await_line(self, text, seconds=60):
        """Until a line of stderr holds `text`."""
        until(lambda: any(text in line for line in self.err) or not self.is_running, seconds)
        assert any(text in line for line in self.err), "".join(self.err)

    def found(self, pattern, seconds=60):
        """What the first line of stderr that has it matches in its group."""
        self.await_match(pattern, seconds)
        return next(match[1] for line in self.err if (match := re.search(pattern, line)))

    def await_match(self, pattern, seconds=60):
        def has_come():
            return any(re.search(pattern, line) for line in list(self.err))

        until(lambda: has_come() or not self.is_running, seconds)
        assert has_come(), "".join(self.err)

    def send(self, number):
        """A signal, without waiting for what comes of it."""
        self._process.send_signal(number)

    def kill(self):
        """kill -9; returns once all that it had printed is there."""
        self._process.kill()
        return self.wait()

    def terminate(self):
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds=60):
        """The exit code, once all output is there."""
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join()
        return code

    def _collect(self, stream, lines):
        for line in stream:
            lines.append(line)
        stream.close()


def until(condition, seconds=180):
    """Return once it holds; a machine with other work may take long over it."""
    give_up_at = time.monotonic() + seconds
    pause_s = 0.01
    while not condition():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, 0.05)  # to look may be a request


def decoder_of(source):
    """The process that decodes a source. Raises psutil.NoSuchProcess."""
    told = Path(f"/proc/self/fdinfo/{source._process._process}").read_text()
    pid = int(re.search(r"^Pid:\s*(-?\d+)", told, re.M)[1])  # -1: it has ended
    if pid < 0:
        raise psutil.NoSuchProcess(pid)
    return psutil.Process(pid)
