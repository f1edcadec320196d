"""DemoPage: `vstream demo` on a terminal, as `make demo` runs it."""

import os
import pty
import signal
import subprocess
import sys

import psutil
from processes import until

_DEMO = [sys.executable, "-c", "from app.cli import main; main()", "demo"]


class DemoPage:
    """`vstream demo` on a terminal, with a browser that only writes down what it should open."""

    def __init__(self, folder):
        self._address = folder / "address"
        pretended = folder / "browser"
        pretended.write_text(
            f'#!/bin/sh\necho "$1" > {self._address}.new\nmv {self._address}.new {self._address}\n'
        )
        pretended.chmod(0o755)
        environment = {name: value for name, value in os.environ.items() if name != "CI"}
        self._terminal, its_end = pty.openpty()
        self._process = subprocess.Popen(
            _DEMO,
            stdin=its_end,
            stdout=its_end,
            stderr=subprocess.DEVNULL,
            env={**environment, "BROWSER": str(pretended)},
        )
        os.close(its_end)

    def address(self, seconds):
        """Where it sends its browser."""
        until(lambda: self._address.exists() or self._process.poll() is not None, seconds)
        assert self._process.poll() is None
        return self._address.read_text().strip()

    def cpu_s(self):
        """That it has taken so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def end(self):
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(30)
        os.close(self._terminal)
        return code
