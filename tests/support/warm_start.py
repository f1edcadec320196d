"""Warm starts: Python programs that begin with what takes seconds to import imported already.

`start` forks them off a process that has imported it and has done nothing else, one for each
process of tests. What begins is a process like any other from there on: it has its own arguments,
environment, working directory, output, exit code and end. Variables that are read while something
is imported cannot be told to it any more; who sets one is started anew.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

_COMMANDS = ("answer", "ask", "demo", "doctor", "ingest", "search", "serve")
_IMPORTED = (
    "app.commands",
    *(f"app.{name}" for name in (*_COMMANDS, "streams", "watch")),
    "eval.commands",
    "transformers.models.smolvlm.modeling_smolvlm",
    "transformers.models.llava_onevision.modeling_llava_onevision",
)
_PAGE = "app.ui"
"""Gradio reads where temporary files belong while it is imported."""
_ROOT = Path(__file__).parents[2]
_READ_BY_IMPORTS = (
    *("HF_ENDPOINT", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE"),
    *("OMP_NUM_THREADS", "PYTHONPATH", "PYTHONWARNINGS"),
)
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "10000",
    "GRADIO_ANALYTICS_ENABLED": "False",
}
_FIRST_ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", **_ENVIRONMENT}
"""Before a test has changed anything, but for what all tests have."""
_one_at_a_time = threading.Lock()
_starters = {}


def start(module, *arguments, environment, warm=True):
    """`python -m MODULE ARGUMENTS`, without input; what it says is text in pipes.

    `environment` is added to that of the tests. What is returned is as Popen. Who looks at the
    memory that a process takes has it start anew: not `warm`. It is "always" where only a process
    that it starts itself reads the variables.
    """
    environment = {**os.environ, **_ENVIRONMENT, **environment}
    words = [module, *map(str, arguments)]
    same = _read_by_imports(environment) == _read_by_imports(_FIRST_ENVIRONMENT)
    if warm == "always" or (warm and same):
        has_page = environment.get("TMPDIR") == _FIRST_ENVIRONMENT.get("TMPDIR")
        return _WarmProcess(_starter(has_page), words, environment)
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_by_imports(environment):
    return [environment.get(name) for name in _READ_BY_IMPORTS]


def _starter(has_page):
    with _one_at_a_time:
        if has_page not in _starters:
            _starters[has_page] = _Starter([*_IMPORTED, *([_PAGE] if has_page else [])])
        return _starters[has_page]


class _Starter:
    """The process that the others are forked off."""

    def __init__(self, imported):
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno()), *imported],
                env={**_FIRST_ENVIRONMENT, "PYTHONPATH": str(_ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self._end)

    def send(self, options, descriptors):
        socket.send_fds(self._socket, [json.dumps(options).encode()], descriptors)

    def _end(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.wait()


class _WarmProcess:
    """The part of Popen that tests use."""

    def __init__(self, starter, words, environment):
        self.returncode = None
        out, its_out = os.pipe()
        err, its_err = os.pipe()
        self.stdout, self.stderr = open(out), open(err)  # noqa: SIM115  its user's to close
        self._status, status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        options = {"arguments": words, "environment": environment, "directory": os.getcwd()}
        try:
            starter.send(options, [its_out, its_err, status.fileno()])
        finally:
            os.close(its_out)
            os.close(its_err)
            status.close()
        self.pid = self._told()

    def poll(self):
        return self._end(0.0)

    def wait(self, timeout=None):
        if self._end(timeout) is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended, and that is still to be told
                os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def _end(self, timeout):
        if self.returncode is None:
            self._status.settimeout(timeout)
            try:
                self.returncode = self._told()
            except (BlockingIOError, TimeoutError):
                return None
            self._status.close()
        return self.returncode

    def _told(self):
        told = self._status.recv(32)
        assert told, "what starts processes has ended: see what it says on stderr"
        return int(told)


def _main(control, imported):
    """In the process that others are forked off. Returns in those, as what they are."""
    sys.path.append(str(_ROOT))
    importlib.import_module("memory.locks").check_order()
    for name in imported:
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 3)
        if not message:
            os._exit(0)
        assert threading.active_count() == 1, "a fork would leave the other threads out"
        if os.fork() == 0:
            control.close()
            _watch_over(descriptors[2])
            return _become(json.loads(message), *descriptors)
        for one in descriptors:
            os.close(one)


def _watch_over(status):
    """Fork, and return in the child. Its parent tells its number, then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        return
    os.write(status, str(child).encode())
    os.closerange(0, status)
    os.closerange(status + 1, 1 << 16)
    _, code = os.waitpid(child, 0)
    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os._exit(0)


def _become(options, out, err, status):
    """Another program; what is returned runs it."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    for one in (out, err, status):
        os.close(one)
    os.chdir(options["directory"])
    os.environ.clear()
    os.environ.update(options["environment"])
    time.tzset()
    tempfile.tempdir = None
    sys.path[0] = ""
    module, *arguments = options["arguments"]
    sys.argv = [module, *arguments]
    return module


if __name__ == "__main__":
    program = _main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    runpy.run_module(program, run_name="__main__", alter_sys=True)
