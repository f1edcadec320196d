"""What pytest-xdist starts as its Python: a process of tests that has a warm start.

Importing what the tests import takes ten seconds of a core, once for all of them.
"""

import os
import shlex
import signal
import sys
from pathlib import Path

import warm_start


def as_python():
    """For pytest-xdist: the command in the place of `python`."""
    return shlex.join([sys.executable, str(Path(__file__).resolve())])


if __name__ == "__main__":
    program = sys.argv[sys.argv.index("-c") :]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: what it waits for heeds it
    process = warm_start.WarmProcess("tests", program, dict(os.environ), [0, 1, 2])
    sys.exit(process.wait())
