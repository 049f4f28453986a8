"""Errors are lines of printable characters, whatever the names and texts in them."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command_lines import run_here
from hypothesis import given
from hypothesis import strategies as st

from attune.cli import main as cli
from attune.errors import BadInput, one_line
from attune.runtime import __main__ as runtime
from attune.stage import Params, Receipt, lines, run

HOSTILE = "a\x1b[31m\x07\u202egnp\u2066.exe\u200b\x9b1m\udcff"
ESCAPED = r"a\x1b[31m\x07\u202egnp\u2066.exe\u200b\x9b1m\udcff"


SOURCE = Path(__file__).resolve().parents[2] / "src" / "attune"


def without_next_step(source: str) -> Iterator[str]:
    """Yields what a program raises as BadInput in one literal message that has no `; ` and then what to do.

    Messages put together elsewhere, of which the call holds a few letters only, are left out.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BadInput":
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            text = "".join(text for text in texts if isinstance(text, str))
            if len(text) > 30 and ";" not in text:
                yield text


def sip(_params: Params) -> Receipt:
    """A stage without arguments."""
    return {}


def test_characters_that_command_a_terminal_are_escaped() -> None:
    """Control, bidirectional and invisible characters; letters of any script, marks and emoji stay."""
    assert one_line(HOSTILE) == ESCAPED
    assert one_line("naïve ü 漢字 עברית हिन्दी 🙂") == "naïve ü 漢字 עברית हिन्दी 🙂"
    assert one_line(" a\n b\tc\x85d\u2028e ") == "a b c d e"


def test_every_message_says_what_to_do() -> None:
    """The end of a message, behind its last semicolon, is the next step, which `--json` gives apart."""
    texts = {path: list(without_next_step(path.read_text(encoding="utf-8"))) for path in SOURCE.rglob("*.py")}
    assert not {path: without for path, without in texts.items() if without}
    planted = (
        'raise BadInput(f"{path}: 3 columns, expected two or one of them{more}")\nraise BadInput(f"{path}: {what}")'
    )
    assert list(without_next_step(planted)) == [": 3 columns, expected two or one of them"]


@given(st.text())
def test_any_text_is_one_printable_line(text: str) -> None:
    """Also where half of a surrogate pair or an unassigned character stands in it; a second pass changes nothing."""
    line = one_line(text)
    assert line.isprintable() and one_line(line) == line


def test_every_way_to_print_an_error_escapes() -> None:
    """As a text, and as the lines of a command: one per problem."""
    error = BadInput(f"{HOSTILE}: not found", "two\nlines")
    assert str(error) == f"{ESCAPED}: not found\ntwo lines"
    assert lines(error) == [*lines(OSError(f"{HOSTILE}: not found")), "two lines"]


@pytest.mark.parametrize("command", [["-m", "attune.runtime"], ["-m", "attune", "verify"]])
def test_a_file_name_cannot_reach_the_terminal_raw(tmp_path: Path, command: list[str]) -> None:
    """A folder called with an ANSI sequence, as an archive may bring it."""
    folder = tmp_path / "\x1b[31mred\u202e"
    folder.mkdir()
    done = subprocess.run([sys.executable, *command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert r"\x1b[31mred\u202e" in done.stderr and done.stderr.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("program", "arguments", "n_lines"),
    [
        (cli.main, [f"--{HOSTILE}"], 1),
        (cli.main, ["verify", "a", HOSTILE], 1),
        (lambda: run(sip), [f"--{HOSTILE}"], 1),
        (runtime.main, ["a", HOSTILE], 2),  # argparse puts a line with the usage before it
    ],
    ids=["option", "argument", "stage", "runtime"],
)
def test_wrong_arguments_are_escaped(
    tmp_path: Path, program: Callable[[], object], arguments: list[str], n_lines: int
) -> None:
    """Commands and stages name what they were given in one line, and end with exit code 2."""
    done = run_here(program, tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    *before, line = done.stderr.splitlines()
    assert len(before) == n_lines - 1 and line.isprintable() and r"\u202egnp\u2066" in line


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    """As for --help, with exit code 0."""
    done = run_here(cli.main, tmp_path)
    assert done.returncode == 0 and "Usage" in done.stdout
