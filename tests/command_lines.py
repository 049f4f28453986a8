"""Runs command lines in this process, which has the libraries loaded: arguments, folder, exit code and output."""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from pydantic import TypeAdapter

from attune.cli import answers
from attune.cli.answers import Answer

SAY = answers.say


def say_checked(answer: Answer, as_json: bool) -> None:
    """Prints an answer as `attune.cli.answers.say` does; fails if its JSON is not as its schema says.

    Checked for text, too, so that every test of a command tests its JSON: values have the types of the record's fields,
    and numbers are finite (JSON has no other; pydantic writes null for them).
    """
    adapter = TypeAdapter(type(answer))
    adapter.validate_json(adapter.dump_json(answer, warnings=False), strict=True)
    SAY(answer, as_json)


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
    """Runs the function that a command line starts, in a folder and with arguments, as a process of its own would.

    Answers are checked against their schema.
    """
    out, error, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(error),
    ):
        patch.setattr(sys, "argv", ["attune", *arguments])
        patch.setattr(answers, "say", say_checked)
        try:
            program()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            code = end.code or 0
    return Finished(code, out.getvalue(), error.getvalue())
