"""Commands of `attune` for repositories of users' own: new, upgrade, results."""

from pathlib import Path
from typing import Annotated

import typer

from attune.errors import printable


def new(
    folder: Annotated[Path, typer.Argument(help="folder to make; inside a git repository it becomes a part of that")],
    data: Annotated[Path | None, typer.Option(help="your data, a file or a folder; without, the default data")] = None,
    column: Annotated[list[str] | None, typer.Option(help="name of a column, such as query=question")] = None,
    source: Annotated[
        str, typer.Option(show_default="guessed from the data", help="beir, pairs, triplets or documents")
    ] = "",
    base: Annotated[str, typer.Option(help="encoder to tune, a folder or a name on the hub")] = "",
    revision: Annotated[str, typer.Option(help="of the encoder: branch, tag or commit on the hub")] = "main",
) -> None:
    """Makes a repository of your own, whose stages run from the installed attune: data, parameters, a first commit."""
    from attune.cli.repository.new import new  # noqa: PLC0415 - polars and scipy take seconds to import

    for line in new(folder, data, column or [], source, base, revision):
        typer.echo(printable(line))


def upgrade(
    is_dry: Annotated[bool, typer.Option("--dry", help="show what would change and run; write nothing")] = False,
) -> None:
    """Brings this repository to the installed attune: pipeline, code hashes, parameters; says what runs again."""
    from attune.cli.repository.upgrade import upgrade  # noqa: PLC0415 - DVC takes seconds to import

    for line in upgrade(Path(), is_dry):
        typer.echo(printable(line))


def results(
    write: Annotated[Path | None, typer.Option(help="page to write it into, between its markers")] = None,
) -> None:
    """Prints the table of results of metrics/, or writes it into a page such as README.md."""
    from attune.cli.repository.results import results, write_results  # noqa: PLC0415

    if write is None:
        typer.echo(results(Path("metrics")))
    else:
        write_results(write, Path("metrics"))


def add_to(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    for command in (new, upgrade, results):
        app.command()(command)
