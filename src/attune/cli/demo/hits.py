"""Documents that two systems rank for one query, side by side: as `attune search` and the demo's page show them."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from attune.cli.answers import Answer
from attune.cli.terminal import Isolated
from attune.evaluation.report.excerpts import cut, line


@dataclass(frozen=True)
class Hit:
    """A ranked document, with its ranks by both systems.

    Attributes:
        rank: from 1 on.
        document_id: key of the document.
        title: of the document.
        text: the whole document, or its passage that matched.
        score: by the system.
        base_rank: by the first system; null below the depth.
        tuned_rank: by the second; null below the depth.
        is_answer: true where the query was judged and this document answers it.
    """

    rank: int
    document_id: str
    title: str
    text: str
    score: float
    base_rank: int | None
    tuned_rank: int | None
    is_answer: bool


@dataclass(frozen=True)
class SystemHits:
    """The top documents of one system.

    Attributes:
        system: its name.
        runs_in: library that encodes the query.
        encode_seconds: for the query.
        search_seconds: for its documents.
        hits: best first.
    """

    system: str
    runs_in: str
    encode_seconds: float
    search_seconds: float
    hits: list[Hit]


@dataclass(frozen=True)
class PairedHits(Answer):
    """Hits of both systems for one query.

    Attributes:
        query: as it was encoded.
        depth: of the rankings in which the other system's documents were looked up.
        systems: base, then tuned, or base with its query adapter where base is behind an endpoint; with --hybrid, each
            fused with BM25.
    """

    query: str
    depth: int
    systems: list[SystemHits]

    def shown(self) -> Iterator[Table]:
        """Returns a table with one column per system and one row per rank: title, score, and the change of rank."""
        table = Table(show_lines=True)
        table.add_column("rank", justify="right")
        for system in self.systems:
            encode, look_up = 1000 * system.encode_seconds, 1000 * system.search_seconds
            head = f"{system.system} ({system.runs_in}: encoded in {encode:.0f} ms, searched in {look_up:.0f} ms)"
            table.add_column(head, ratio=1)
        for rank, hits in enumerate(zip(*(system.hits for system in self.systems), strict=True), start=1):
            table.add_row(str(rank), *(_cell(hit, self.depth) for hit in hits))
        yield table


def _cell(hit: Hit, depth: int) -> Isolated:
    colour = {"up": "green", "down": "red", "same": "dim"}[direction(hit)]
    mark = " [bold green]answer[/bold green]" if hit.is_answer else ""
    head = f"[bold]{escape(line(hit.title) or hit.document_id)}[/bold]{mark}"
    facts = f"{hit.score:.3f}  [{colour}]{rank_change(hit, depth)}[/{colour}]"
    return Isolated(Text.from_markup(f"{head}\n{facts}\n[dim]{escape(cut(line(hit.text), 160))}[/dim]"))


def rank_change(hit: Hit, depth: int) -> str:
    """Describes a document's change of rank from base to tuned, such as `up 3, from 4 to 1`."""
    if hit.base_rank == hit.tuned_rank:
        return "same rank"
    change = "" if hit.base_rank is None or hit.tuned_rank is None else f" {abs(hit.base_rank - hit.tuned_rank)}"
    ranks = [f"below {depth}" if rank is None else rank for rank in (hit.base_rank, hit.tuned_rank)]
    return f"{direction(hit)}{change}, from {ranks[0]} to {ranks[1]}"


def direction(hit: Hit) -> str:
    """Returns "up", "down" or "same", a document's direction from base to tuned."""
    if hit.base_rank == hit.tuned_rank:
        return "same"
    return "up" if hit.base_rank is None or (hit.tuned_rank or hit.base_rank + 1) < hit.base_rank else "down"
