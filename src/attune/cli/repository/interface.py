"""Commands for repositories of users' own: new, upgrade, results."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from attune.cli.answers import Answer
from attune.errors import printable


@dataclass(frozen=True)
class Setting:
    """A parameter that was set because of the data.

    Attributes:
        key: of the parameter.
        value: it has now.
        reason: what was found in the data.
    """

    key: str
    value: bool | int | str | list[str]
    reason: str


@dataclass(frozen=True)
class Made(Answer):
    """A new repository, with a first commit.

    Attributes:
        folder: its absolute path.
        data: what the data hold and how they will be split, in one sentence; "" where they are the default's.
        encoder: the encoder to tune and its place; "" where it is the default's.
        settings: parameters that were set because of the data.
        advice: sentences of the checks that fail and that no setting has mended, by code.
        next_step: command that runs the pipeline.
    """

    folder: str
    data: str
    encoder: str
    settings: list[Setting]
    advice: dict[str, str]
    next_step: str

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        settings = (f"{each.key}: {str(each.value).lower()}, as {each.reason}" for each in self.settings)
        advice = (f"{code} {sentence}" for code, sentence in self.advice.items())
        made = f"{self.folder}: made, with a first commit; next: {self.next_step} (or dvc repro)"
        yield from map(printable, (*filter(None, (self.data, self.encoder)), *settings, *advice, made))


def new(
    folder: Annotated[Path, typer.Argument(help="folder to make; inside a git repository it becomes a part of that")],
    data: Annotated[Path | None, typer.Option(help="your data, a file or a folder; without, the default data")] = None,
    column: Annotated[list[str] | None, typer.Option(help="name of a column, such as query=question")] = None,
    source: Annotated[
        str, typer.Option(show_default="guessed from the data", help="beir, pairs, triplets or documents")
    ] = "",
    base: Annotated[str, typer.Option(help="encoder to tune, a folder or a name on the hub")] = "",
    revision: Annotated[str, typer.Option(help="of the encoder: branch, tag or commit on the hub")] = "main",
) -> Made:
    """Makes a repository of your own, whose stages run from the installed attune: data, parameters, a first commit."""
    from attune.cli.repository.new import new  # noqa: PLC0415 - polars and scipy take seconds to import

    return new(folder, data, column or [], source, base, revision)


@dataclass(frozen=True)
class Upgraded(Answer):
    """Changes that the installed attune makes to a repository, and what runs again.

    Attributes:
        before: version of attune that the repository was at.
        now: version that is installed.
        is_dry: true where nothing was written.
        files: that were, or would be, written.
        parameters: what became of renamed, new and dropped keys, in words.
        runs_again: stages that run again, each with its reason.
        n_stages: of the pipeline; 0 where nothing has run here yet.
    """

    before: str
    now: str
    is_dry: bool
    files: list[str]
    parameters: list[str]
    runs_again: list[str]
    n_stages: int

    def shown(self) -> Iterator[str]:
        """Returns the text for people."""
        wrote = f"{'would write' if self.is_dry else 'wrote'} {', '.join(self.files)}"
        what = wrote if self.files else "this repository is up to date"
        yield printable(f"attune {self.before} -> {self.now}: {what}")
        yield from map(printable, self.parameters)
        n_again = len(self.runs_again)
        if not self.n_stages:
            yield "nothing has run here yet: make repro (or dvc repro)"
        elif not n_again:
            yield f"none of {self.n_stages} stages runs again"
        yield from (printable(f"runs again: {each}") for each in self.runs_again)
        if 0 < n_again < self.n_stages:
            yield f"{self.n_stages - n_again} of {self.n_stages} stages run only if what they read changes"


def upgrade(
    is_dry: Annotated[bool, typer.Option("--dry", help="show what would change and run; write nothing")] = False,
) -> Upgraded:
    """Brings this repository to the installed attune: pipeline, code hashes, parameters; says what runs again."""
    from attune.cli.repository.upgrade import upgrade  # noqa: PLC0415 - DVC takes seconds to import

    return upgrade(Path(), is_dry)


@dataclass(frozen=True)
class Results(Answer):
    """Results of the last run.

    Attributes:
        verdict: Better, Worse, No change, Cannot tell or Not measurable: whether tuned is better than base on test.
        sentence: the verdict with its figures.
        ship: way to serve queries that the report names; "" where it names none.
        ship_without_reindex: the same where document embeddings must stay as they are.
        n_test_queries: that were scored.
        systems: scores on test, by system and measure.
        difference: tuned less base by measure, with interval and p-value, on the queries that the verdict counts.
        markdown: the table of results.
        page: into which the table was written; null where none was named.
    """

    verdict: str
    sentence: str
    ship: str
    ship_without_reindex: str
    n_test_queries: int
    systems: dict[str, dict[str, float]]
    difference: dict[str, dict[str, Any]]
    markdown: str
    page: str | None

    def shown(self) -> Iterator[str]:
        """Returns the text for people; none where it went into a page."""
        if self.page is None:
            yield self.markdown


def results(
    write: Annotated[Path | None, typer.Option(help="page to write it into, between its markers")] = None,
) -> Results:
    """Prints the table of results of metrics/, or writes it into a page such as README.md."""
    from attune.cli.repository.results import results_of, write_results  # noqa: PLC0415

    if write is not None:
        write_results(write, Path("metrics"))
    return results_of(Path("metrics"), write)
