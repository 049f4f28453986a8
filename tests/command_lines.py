"""Runs command lines in this process, which has the libraries loaded: arguments, folder, exit code and output."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest


class Finished(NamedTuple):
    """A command line that has ended.

    Attributes:
        returncode: exit code; an exception other than SystemExit is raised instead.
        stdout: what was printed there.
        stderr: what was printed there.
    """

    returncode: int
    stdout: str
    stderr: str


def run_here(program: Callable[[], object], folder: Path, *arguments: str) -> Finished:
    """Runs the function that a command line starts, in a folder and with arguments, as a process of its own would."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        patch.setattr(sys, "argv", ["attune", *arguments])
        try:
            program()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            code = end.code or 0
    return Finished(code, out.getvalue(), error.getvalue())
