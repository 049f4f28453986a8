"""Command `attune check`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from attune.cli.answers import Answer, Status
from attune.cli.terminal import Isolated
from attune.evaluation.report.excerpts import isolated_words

Facts = dict[str, int | float | str | bool]
Counts = dict[str, dict[str, int | float]]
COLOURS = {"passed": "green", "failed": "red"}  # all others are yellow


@dataclass(frozen=True)
class DataCheck:
    """Result of a check of the data.

    Attributes:
        title: of the check.
        status: the worst of what it found.
        sentence: why, with figures and what to do.
    """

    title: str
    status: Status
    sentence: str


@dataclass(frozen=True)
class Profile(Answer):
    """Profile of a data set before any run. n_ is a count, _share is in 0..1; a section that does not apply is null.

    Attributes:
        data: documents, queries, judgments, and rows left out by reason.
        documents, queries: words and tokens of their texts, and the share that the encoder cuts.
        passages: into which long documents are cut.
        lengths: tokens that the encoder reads, the length that auto takes, and the price of a longer one.
        endpoint: tokens to send, and what they cost, where the encoder is behind one.
        scripts: texts by script, and the share of its letters that the tokenizer does not know.
        languages: texts by language.
        read_as: a query and a document as the encoder reads them.
        alike: duplicates, near-duplicates and the clusters that no split may cut.
        peculiar: rows that look like mistakes, counted.
        split: sizes, what is new in test, and leaks of the split that the pipeline will make.
        training: rows of an epoch.
        checks: what each says, by its code; docs/gate.md has a paragraph on each.
        to_set: lines of params.yaml, section collect, that make this the data of the project; none where it is.
    """

    data: Facts
    documents: Facts
    queries: Facts
    passages: Facts | None
    lengths: Facts
    endpoint: Facts | None
    scripts: Counts | None
    languages: Counts
    read_as: dict[str, str]
    alike: Facts
    peculiar: Facts
    split: Facts
    training: Facts
    checks: dict[str, DataCheck]
    to_set: list[str]

    def shown(self) -> Iterator[RenderableType]:
        """Returns the text for people."""
        yield facts_table({name: own for name, own in vars(self).items() if own and name not in ("checks", "to_set")})
        for code, row in self.checks.items():
            colour = COLOURS.get(row.status, "yellow")
            line = isolated_words(f"{row.title}: {row.sentence}")
            yield Text.from_markup(f"{code}  [{colour}]{row.status}[/{colour}]  {escape(line)}")
        if self.to_set:
            yield "\nTo use this data, set in params.yaml, section collect:"
            yield from (f"  {line}" for line in self.to_set)
            yield "then: make repro"


@dataclass(frozen=True)
class Rehearsal(Answer):
    """Rehearsal of the pipeline with an encoder, on a handful of texts; the command fails where a step does.

    Attributes:
        encoder: its folder.
        rehearsed: the steps.
        precision: number format in which training is right on this machine.
        seconds: that the steps took.
    """

    encoder: str
    rehearsed: list[str]
    precision: str
    seconds: float

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        yield f"encoder: {self.encoder}"
        yield f"rehearsed: {', '.join(self.rehearsed)}"
        yield f"precision: {self.precision}"
        yield f"seconds: {self.seconds:.1f}"


def check(
    path: Annotated[
        Path | None, typer.Argument(show_default="collect.path", help="file or folder with your data")
    ] = None,
    source: Annotated[
        str, typer.Option(show_default="guessed from the path", help="beir, pairs, triplets or documents")
    ] = "",
    column: Annotated[list[str] | None, typer.Option(help="name of a column, such as query=question")] = None,
    base: Annotated[Path | None, typer.Option(help="folder of an encoder to rehearse, instead of any data")] = None,
) -> Profile | Rehearsal:
    """Profiles a data set before any run: counts, lengths, duplicates, the split with its leaks, and checks.

    With --base, does with an encoder what the pipeline will do, on a handful of texts: training, export, int8.
    """
    if base is not None:
        from attune.cli.check.encoder import check_encoder  # noqa: PLC0415 - torch takes seconds to import

        return check_encoder(base)
    from attune.cli.check.profile import profile  # noqa: PLC0415 - polars and scipy take seconds to import
    from attune.cli.check.source import source_params  # noqa: PLC0415

    params, lines = source_params(path, source, column or [])
    facts: dict[str, Any] = {"passages": None, "endpoint": None, "scripts": None} | profile(params)
    checks = {code: DataCheck(**row) for code, row in facts.pop("checks").items()}
    return Profile(**facts, checks=checks, to_set=lines)


def facts_table(facts: Mapping[str, Mapping[str, Any]]) -> Table:
    """Builds a table with one row per fact, grouped by section."""
    table = Table(show_header=False)
    for section, values in facts.items():
        table.add_section()
        for row, (key, value) in enumerate(values.items()):
            shown = Isolated(Text(_shown(key, value)))
            table.add_row("" if row else f"[bold]{section}[/bold]", _words(key), shown)
    return table


def _words(key: str) -> str:
    return key.removeprefix("n_").removesuffix("_share").replace("_", " ").replace(".", ": ")


def _shown(key: str, value: object) -> str:
    """Returns a fact as text: shares in percent, numbers grouped, yes or no, and several facts with their names."""
    if isinstance(value, dict):
        return ", ".join(f"{_words(name)} {_shown(name, own)}" for name, own in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_share"):
        return f"{value:.1%}"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
