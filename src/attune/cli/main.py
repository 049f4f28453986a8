"""Command line `attune`: commands that are not stages.

Each command stands in the `interface.py` of its room, with what it takes and what it says (`attune.cli.answers`).
Heavy libraries are imported inside the commands that need them, so that `attune --help` and `attune verify` are quick.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from attune.cli.answers import Answer, Command, Failure, add, answer_of, run, schema_of
from attune.cli.base.interface import base
from attune.cli.bridge.interface import bridge
from attune.cli.check.interface import check
from attune.cli.compare.interface import compare
from attune.cli.demo.interface import demo, search
from attune.cli.interface import cutoff, times, verify
from attune.cli.judge.interface import judge
from attune.cli.repository.interface import new, results, upgrade
from attune.cli.review.interface import comment, diff, gate, same
from attune.errors import BadInput

ERROR = "error"  # what `attune schema` calls the JSON of a failure


@dataclass(frozen=True)
class Schema(Answer):
    """Meaning of the keys of a command's JSON.

    Attributes:
        command: its name.
        json_schema: a JSON Schema, draft 2020-12.
    """

    command: str
    json_schema: dict[str, Any]

    def shown(self) -> Iterator[str]:
        """Returns the schema alone."""
        yield json.dumps(self.json_schema, indent=2)


def schema(
    command: Annotated[str, typer.Argument(help=f"name of a command, or {ERROR}: what each prints where it fails")],
) -> Schema:
    """Prints the JSON Schema of what a command prints with --json."""
    named = {each.__name__: each for each in COMMANDS}
    if command not in (*named, ERROR):
        known = ", ".join((*sorted(named), ERROR))
        raise BadInput(f"COMMAND: got {command!r}, expected one of {known}; name one of them")
    return Schema(command, schema_of(Failure if command == ERROR else answer_of(named[command])))


COMMANDS: tuple[Command, ...] = (
    *(new, check, base, results, judge),
    *(search, demo, compare, verify, cutoff, bridge, times),
    *(gate, same, diff, comment, upgrade, schema),
)
app = typer.Typer(help="Fine-tune your own embedding model, and know that it worked.")
for each in COMMANDS:
    add(app, each)


def main() -> None:
    """Runs the command `attune`; without arguments it shows the help."""
    if not sys.argv[1:]:
        sys.argv.append("--help")
    run(app)
