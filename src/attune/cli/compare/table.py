"""The table, the lines below it, and the record of `attune compare`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from attune.cli.compare.ranking import BASE, RANKED, TESTED, Compared, Room, Values, means
from attune.cli.compare.systems import Facts
from attune.encoding.prompts import told
from attune.evaluation.report.markdown import p_value, score, signed

SHOWN = (RANKED, "recall@10", "mrr@10", "recall@100")
FORMAT = 1


@dataclass(frozen=True)
class Result:
    """Everything that `attune compare` found.

    Attributes:
        order: systems, the best on dev first.
        facts: of each system.
        dev: values of each measure by system, (n_queries,).
        test: of the best two.
        n_clusters: of queries, by split.
        comparisons: of all pairs that were compared.
        room: that base leaves on dev.
        answers: whether switching would do, in sentences.
        n_documents: of the corpus.
        confidence: of intervals and tests.
    """

    order: Sequence[str]
    facts: Mapping[str, Facts]
    dev: Mapping[str, Values]
    test: Mapping[str, Values]
    n_clusters: Mapping[str, int]
    comparisons: Sequence[Compared]
    room: Room
    answers: Sequence[str]
    n_documents: int
    confidence: float

    @property
    def lines(self) -> list[str]:
        """How encoders read texts and notes on systems, then the answers."""
        read = {name: self.facts[name].about.get("prompts") for name in self.order}
        notes = [f"{name} reads {told(prompts)}" for name, prompts in read.items() if prompts is not None]
        notes += [f"{name}: {note}" for name in self.order for note in self.facts[name].notes]
        notes += [
            f"{name}: dev helped to make it, so its figures there are too good; those of test are not"
            for name in self.order
            if self.facts[name].is_chosen_on_dev
        ]
        return [*notes, *self.answers, self.room.sentence]

    @property
    def record(self) -> dict[str, Any]:
        """The result as JSON; docs/encoders.md describes the fields."""
        return {
            "format": FORMAT,
            "ranked_by": RANKED,
            "confidence": self.confidence,
            "n_documents": self.n_documents,
            "n_queries": {"dev": self._n(self.dev), "test": self._n(self.test)},
            "n_clusters": dict(self.n_clusters),
            "systems": [self._system(name) for name in self.order],
            "comparisons": [asdict(row) for row in self.comparisons],
            "room": asdict(self.room) | {"badly_ranked": self.room.badly_ranked, "not_found": self.room.not_found},
            "sentences": self.lines,
        }

    def _system(self, name: str) -> dict[str, Any]:
        facts = self.facts[name]
        return {
            "name": name,
            "kind": facts.kind,
            **facts.about,
            "is_chosen_on_dev": facts.is_chosen_on_dev,
            "seconds_per_1000_documents": facts.seconds,
            "bytes_per_1000_documents": facts.bytes,
            "dev": means(self.dev[name]),
            "test": means(self.test[name]) if name in self.test else None,
            "notes": facts.notes,
        }

    @staticmethod
    def _n(values: Mapping[str, Values]) -> int:
        return len(next(iter(values.values()))[RANKED])


def tables(result: Result) -> list[Table]:
    """Builds the table of dev, with costs, and that of test with the best two."""
    n = result.record["n_queries"]
    return [_dev(result, n["dev"]), _test(result, n["test"])]


def _dev(result: Result, n_queries: int) -> Table:
    table = Table(title=f"dev, {n_queries:,} queries, {result.n_documents:,} documents", title_justify="left")
    table.add_column("system")
    for head in (*SHOWN, f"{RANKED} less {BASE}", "tokens", "s / 1,000 documents", "MB / 1,000 documents"):
        table.add_column(head, justify="right")
    against = {row.system: row for row in result.comparisons if row.split == "dev"}
    for name in result.order:
        facts, values = result.facts[name], means(result.dev[name])
        table.add_row(
            Text(name),
            *(score(values[measure]) for measure in SHOWN),
            _difference(against.get(name)),
            _number(facts.about.get("max_length"), 1, 0),
            _number(facts.seconds, 1, 1),
            _number(facts.bytes, 1e-6, 2),
        )
    return table


def _test(result: Result, n_queries: int) -> Table:
    table = Table(title=f"test, {n_queries:,} queries, the best two on dev", title_justify="left")
    table.add_column("system")
    for head in SHOWN:
        table.add_column(head, justify="right")
    for name, values in result.test.items():
        table.add_row(Text(name), *(score(means(values)[measure]) for measure in SHOWN))
    table.add_section()
    rows = {row.measure: row for row in result.comparisons if row.split == "test"}
    table.add_row("difference", *(_difference(rows[name]) if name in TESTED else "" for name in SHOWN))
    return table


def _difference(row: Compared | None) -> str:
    if row is None:
        return ""
    return f"{signed(row.delta, 3)} [{signed(row.ci_low, 3)}, {signed(row.ci_high, 3)}], {p_value(row.p_holm)}"


def _number(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:,.{digits}f}"
