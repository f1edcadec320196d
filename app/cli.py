"""The console script `vstream`: run the command line, exit with the right code, hide tracebacks."""

import atexit
import gc
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line; every expected error is one line on stderr and exit code 1."""
    # OpenMP reads this once, when torch is imported. Its threads spin while they wait for work:
    # without a limit they steal the cores of a busy machine; with no spin at all they wake too
    # late on an idle one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    atexit.register(gc.freeze)  # skip the garbage collection at exit, which takes seconds
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115  a closed stdin reads as empty
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    try:
        _run()
    except KeyboardInterrupt:  # also while torch is being imported
        sys.exit(130)


def _run() -> None:
    from typer.exceptions import Abort, TyperException

    from app.commands import cli
    from encoders import EncoderError
    from memory import KVMemoryError
    from vstream import VStreamError

    try:
        sys.exit(cli(standalone_mode=False))
    except TyperException as error:  # a usage error; --help raises it too, without a message
        if why := error.format_message():
            context = getattr(error, "ctx", None)
            hint = f" See `{context.command_path} --help`." if context is not None else ""
            _fail(f"{why}{hint}", error.exit_code)
        sys.exit(error.exit_code)
    except Abort:
        _fail("aborted")
    except (VStreamError, EncoderError, KVMemoryError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"writing the output: {error}")


def _fail(why: str, code: int = 1) -> NoReturn:
    from app.terminal import Terminal

    Terminal().fail(why)
    sys.exit(code)
