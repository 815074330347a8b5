"""The command line, run in this process."""

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from saccade.cli.main import main


class Ran(NamedTuple):
    code: int
    out: str
    err: str


def cli(*arguments: object) -> Ran:
    """`saccade ARGUMENTS...`: its exit code and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        before, sys.argv = sys.argv, ["saccade", *map(str, arguments)]
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            sys.argv = before
    return Ran(code, out.getvalue(), err.getvalue())
