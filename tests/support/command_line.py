"""Run `vstream` in this process as a user would: arguments in, exit code and output out."""

import contextlib
import functools
import io
import json
import sys
from dataclasses import dataclass
from unittest.mock import patch

from app.cli import main
from vstream import load_video_llm


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str

    @property
    def document(self):
        """The JSON document on the last line of stdout."""
        return json.loads(self.out.strip().splitlines()[-1])


@functools.cache
def _embedded(*how):
    """Loaded once by each process of tests: it takes a fifth of a second."""
    return load_video_llm(None, *how)


def _loaded(name, *how):
    return _embedded(*how) if name is None else load_video_llm(name, *how)


def vstream(*arguments, stdin=""):
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv, sys.stdin
    sys.argv, sys.stdin = ["vstream", *map(str, arguments)], io.StringIO(stdin)
    code = 0
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            patch("app.model.load_video_llm", _loaded),
        ):
            main()
    except SystemExit as exit_:
        code = exit_.code or 0
    finally:
        sys.argv, sys.stdin = before
    return Run(code, out.getvalue(), err.getvalue())
