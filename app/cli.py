"""The console script `vstream`: a command line in, the right exit code and no traceback out."""

import atexit
import gc
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line; every expected error is one line on stderr and exit code 1."""
    # Read once, when torch is imported, and so set before: OpenMP threads wait for their next
    # share of work in a loop. For ever, they take the cores from all else on a busy machine;
    # not at all, they wake too late on an idle one.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    atexit.register(
        gc.freeze
    )  # the end takes all with it: it need not be looked through, for seconds
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115  a closed one reads as empty
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
    except TyperException as error:  # what was typed wrongly; help that was asked for says nothing
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
