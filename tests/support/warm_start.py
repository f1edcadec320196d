"""Warm starts: Python programs that begin with what takes seconds to import imported already.

They are forked off a process that has imported it and has done nothing else: one of all processes
of tests that run side by side, which are begun so themselves (`warm_worker.py`). What begins is a
process like any other from there on: it has its own arguments, environment, working directory,
output, exit code and end. Variables that are read while something is imported cannot be told to it
any more; a process that sets one is started afresh.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from contextlib import suppress
from pathlib import Path

_COMMANDS = ("ask", "ask_service", "demo", "doctor", "ingest", "search", "serve")
_IMPORTED = {
    "commands": (
        "app.commands",
        *(f"app.{name}" for name in (*_COMMANDS, "streams", "play")),
        "eval.commands",
        "transformers.models.smolvlm.modeling_smolvlm",
        "transformers.models.llava_onevision.modeling_llava_onevision",
    ),
    "page": ("app.ui",),  # Gradio reads where temporary files belong while it is imported
    "tests": (
        *("hypothesis", "matplotlib.figure", "openai", "playwright.sync_api", "pytest"),
        *("schemathesis", "sentence_transformers", "valkey"),
    ),
}
"""In stages, each of which has what those before it have."""
_OF_TESTS = ("schemathesis.cli",)
ADDRESS = "WARM_STARTS_AT"
"""What tells processes of tests where theirs are forked off."""
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
_one_at_a_time = threading.Lock()
_FIRST_ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", **_ENVIRONMENT}
"""Before a test has changed anything, but for what all tests have."""


def start(module, *arguments, environment, warm=True):
    """`python -m MODULE ARGUMENTS`, without input; what it says is text in pipes. With "-c" for a
    module the first of the arguments is the program itself.

    `environment` is added to that of the tests. What is returned is as Popen. Who looks at the
    memory that a process takes has it start anew: not `warm`. It is "always" where nothing that it
    imports reads the variables, or nothing that the test is about.
    """
    environment = {**os.environ, **_ENVIRONMENT, **environment}
    words = [module, *map(str, arguments)]
    same = _read_by_imports(environment) == _read_by_imports(_FIRST_ENVIRONMENT)
    if warm == "always" or (warm and same):
        same_folder = environment.get("TMPDIR") == _FIRST_ENVIRONMENT.get("TMPDIR")
        has_page = warm == "always" or same_folder
        stage = "tests" if module in _OF_TESTS else "page" if has_page else "commands"
        return _with_pipes(stage, words, environment)
    return subprocess.Popen(
        [sys.executable, *([] if module == "-c" else ["-m"]), *words],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _read_by_imports(environment):
    return [environment.get(name) for name in _READ_BY_IMPORTS]


def _with_pipes(stage, words, environment):
    out, its_out = os.pipe()
    err, its_err = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        process = WarmProcess(stage, words, environment, [nothing, its_out, its_err])
    finally:
        _close([nothing, its_out, its_err])
    process.stdout, process.stderr = open(out), open(err)  # noqa: SIM115  its user's to close
    return process


def serve():
    """Begin what others are forked off, for this process and all that it starts. It imports
    nothing before it is asked for the first time, and ends with this process."""
    folder = tempfile.TemporaryDirectory()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(f"{folder.name}/starts")
        listening.listen()
        starter = subprocess.Popen(
            [sys.executable, __file__, str(listening.fileno())],
            env={**_FIRST_ENVIRONMENT, "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listening.fileno()],
        )
    os.environ[ADDRESS] = f"{folder.name}/starts"

    def end():
        starter.stdin.close()
        starter.wait()
        folder.cleanup()

    atexit.register(end)


class WarmProcess:
    """The part of Popen that tests use. `descriptors` are what it reads and where it writes."""

    def __init__(self, stage, words, environment, descriptors):
        self.returncode = None
        with _one_at_a_time:
            if ADDRESS not in os.environ:
                serve()
        self._status, status = _pair()
        asked = {"arguments": words, "environment": environment, "directory": os.getcwd()}
        message = json.dumps({"stage": stage, **asked}).encode()
        with status, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as starter:
            starter.connect(os.environ[ADDRESS])
            socket.send_fds(starter, [message], [*descriptors, status.fileno()])
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


def _main(listening):
    """In the process that others are forked off. Returns in those, as what they are."""
    sys.path.append(str(_ROOT))
    importlib.import_module("memory.locks").check_order()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it ends with who began it
    return _fork_off(list(_IMPORTED), _asked(listening), [listening])


def _asked(listening):
    """What is asked of the first of those processes, until the one that began it ends."""
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        with listening.accept()[0] as asking:
            yield socket.recv_fds(asking, 1 << 20, 4)[:2]


def _passed_on(source):
    """And of the later ones, each of which is forked off the one before it."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(source, 1 << 20, 4)
        if not message:
            os._exit(0)
        yield message, descriptors


def _fork_off(stages, requests, held):
    """Import what the first stage has, then fork for each request. `held` is not for others."""
    next_stage = None
    has_imported = False
    for message, descriptors in requests:
        if not has_imported:
            for name in _IMPORTED[stages[0]]:
                importlib.import_module(name)
            gc.freeze()
            has_imported = True
        assert threading.active_count() == 1, "a fork would leave the other threads out"
        options = json.loads(message)
        if options["stage"] == stages[0]:
            if os.fork() == 0:
                _close(held)
                _watch_over(descriptors[-1])
                return _become(options, descriptors)
        else:
            if next_stage is None:
                next_stage, theirs = _pair()
                held.append(next_stage)
                if os.fork() == 0:
                    _close([*held, *descriptors])
                    return _fork_off(stages[1:], _passed_on(theirs), [theirs])
                theirs.close()
            socket.send_fds(next_stage, [message], descriptors)
        _close(descriptors)
    return None


def _pair():
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _close(things):
    for one in things:
        os.close(one if isinstance(one, int) else one.detach())


def _watch_over(status):
    """Fork, and return in the child. Its parent tells its number, then its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return
    os.write(status, str(child).encode())
    os.closerange(0, status)
    os.closerange(status + 1, 1 << 16)
    _, code = os.waitpid(child, 0)
    os.write(status, str(os.waitstatus_to_exitcode(code)).encode())
    os._exit(0)


def _become(options, descriptors):
    """Another program; what is returned runs it."""
    for standard, one in enumerate(descriptors[:3]):
        os.dup2(one, standard)
    _close(descriptors)
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
    program = _main(socket.socket(fileno=int(sys.argv[1])))
    if program == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(sys.argv.pop(1), main.__dict__)
    else:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
