"""HeldTrials: trials of schemas that wait, each in its process, until a test lets them go on."""

import fcntl
from contextlib import contextmanager

import psutil

from vstream.decoding import grammar_trials

_SCRIPT = """
import fcntl, os, runpy
with open({begun!r}, "a") as begun:
    begun.write(f"{{os.getpid()}}\\n")
with open({gate!r}) as gate:
    fcntl.flock(gate, fcntl.LOCK_SH)
runpy.run_path({real!r}, run_name="__main__")
"""


class HeldTrials:
    """`begun` are the process ids of all trials so far, in order."""

    def __init__(self, folder, gate):
        self._begun = folder / "begun"
        self._gate = gate

    @property
    def begun(self):
        told = self._begun.read_text() if self._begun.exists() else ""
        return [int(line) for line in told.splitlines()]

    @property
    def num_running(self):
        return sum(psutil.pid_exists(pid) for pid in self.begun)

    def let_go(self):
        fcntl.flock(self._gate, fcntl.LOCK_UN)


@contextmanager
def held_trials(folder, monkeypatch):
    """While it is entered; `folder` is one for the test alone."""
    script, gate = folder / "held_trial.py", folder / "gate"
    paths = {"begun": str(folder / "begun"), "gate": str(gate), "real": str(grammar_trials._SCRIPT)}
    script.write_text(_SCRIPT.format(**paths))
    monkeypatch.setattr(grammar_trials, "_SCRIPT", script)
    with gate.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield HeldTrials(folder, opened)
