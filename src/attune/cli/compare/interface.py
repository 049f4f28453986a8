"""Command `attune compare`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from attune.cli.answers import Answer
from attune.errors import one_line

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class SystemFigures:
    """A system that was compared.

    Attributes:
        name: as it was named.
        kind: encoder, run, bm25, or scored by stage evaluate.
        about: of an encoder, its model, revision, prompts, maximum length, dimension and engine; of a run, its sha256;
            of bm25, its language.
        is_chosen_on_dev: true where dev has helped to make it, so that its figures there are too good.
        seconds_per_1000_documents: to embed them; null where nothing was embedded.
        bytes_per_1000_documents: of their vectors in float32; null without vectors.
        dev: mean of each measure.
        test: likewise; null for all but the best two on dev.
        notes: what a reader must know, one sentence each.
    """

    name: str
    kind: str
    about: dict[str, Any]
    is_chosen_on_dev: bool
    seconds_per_1000_documents: float | None
    bytes_per_1000_documents: float | None
    dev: dict[str, float]
    test: dict[str, float] | None
    notes: list[str]


@dataclass(frozen=True)
class Difference:
    """A system less another on the same queries.

    Attributes:
        split: dev or test.
        system, against: names.
        measure: such as ndcg@10.
        delta: difference of the means.
        ci_low, ci_high: ends of its interval.
        p: of a paired randomization test over clusters of queries.
        p_holm: the same, corrected for all comparisons of this call.
        wins, ties, losses: queries.
    """

    split: str
    system: str
    against: str
    measure: str
    delta: float
    ci_low: float
    ci_high: float
    p: float
    p_holm: float
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Room:
    """Room for tuning: the nDCG@10 that base leaves to gain on dev, where it is at most 1.

    Attributes:
        found: recall@100.
        now: nDCG@10.
        best_order: nDCG@10 if the documents among the first 100 stood in the best order.
        badly_ranked: nDCG@10 that the best order would add; tuning can win it.
        not_found: nDCG@10 that is lost because documents are not among the first 100.
    """

    found: float
    now: float
    best_order: float
    badly_ranked: float
    not_found: float


@dataclass(frozen=True)
class Comparison(Answer):
    """Systems ranked on dev, and the best two on test.

    Attributes:
        ranked_by: the measure that ranks on dev.
        confidence: of intervals and tests.
        n_documents: of the corpus.
        n_queries, n_clusters: of queries, by split.
        systems: the best on dev first.
        comparisons: all that were tested, one family for Holm's correction.
        room: for tuning.
        sentences: how encoders read texts, notes, then the answers.
    """

    ranked_by: str
    confidence: float
    n_documents: int
    n_queries: dict[str, int]
    n_clusters: dict[str, int]
    systems: list[SystemFigures]
    comparisons: list[Difference]
    room: Room
    sentences: list[str]

    def shown(self) -> Iterator["RenderableType"]:
        """Returns the table of dev with costs, that of test, and the sentences."""
        from attune.cli.compare.table import tables  # noqa: PLC0415 - scipy and polars take seconds to import

        width = None if sys.stdout.isatty() else WIDTH
        for table in tables(self):
            with (console := Console(width=width)).capture() as captured:
                console.print(table)
            yield captured.get().rstrip("\n")
        yield from map(one_line, self.sentences)


WIDTH = 200  # columns of a table that no terminal shows


def compare(
    systems: Annotated[
        list[str],
        typer.Argument(
            help="encoders (folder, OWNER/NAME, URL#MODEL), TREC runs, bm25, tuned ...; base is always compared"
        ),
    ],
    max_length: Annotated[
        int | None, typer.Option(show_default="base.max_length", help="tokens at which encoders cut texts")
    ] = None,
) -> Comparison:
    """Ranks encoders and other engines' runs on dev, compares the best two on test, and says what tuning could gain."""
    from attune.cli.compare.command import compare  # noqa: PLC0415 - scipy and polars take seconds to import

    return compare(systems, max_length).answer
