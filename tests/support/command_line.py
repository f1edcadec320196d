"""Run `vstream` in this process as a user would: arguments in, exit code and output out."""

import contextlib
import io
import json
import sys
from dataclasses import dataclass

from app.cli import main


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def document(self):
        """The JSON document on the last line of stdout."""
        return json.loads(self.out.strip().splitlines()[-1])


def vstream(*arguments, stdin=""):
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["vstream", *map(str, arguments)], io.StringIO(stdin)
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as exit_:
        code = exit_.code or 0
    finally:
        sys.argv, sys.stdin = before
    return Run(code, out.getvalue(), err.getvalue())
