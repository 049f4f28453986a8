"""The result of `attune compare`, and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from attune.cli.compare.interface import Comparison, Difference, Room, SystemFigures
from attune.cli.compare.ranking import BASE, RANKED, TESTED, Compared, Values, means, room_sentence
from attune.cli.compare.systems import Facts
from attune.encoding.prompts import quoted_prompts
from attune.evaluation.report.markdown import p_value, score, signed

SHOWN = (RANKED, "recall@10", "mrr@10", "recall@100")


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
        """Yields how encoders read texts and notes on systems, then the answers."""
        read = {name: self.facts[name].about.get("prompts") for name in self.order}
        notes = [f"{name} reads {quoted_prompts(prompts)}" for name, prompts in read.items() if prompts is not None]
        notes += [f"{name}: {note}" for name in self.order for note in self.facts[name].notes]
        notes += [
            f"{name}: dev helped to make it, so its figures there are too good; those of test are not"
            for name in self.order
            if self.facts[name].is_chosen_on_dev
        ]
        return [*notes, *self.answers, room_sentence(self.room)]

    @property
    def answer(self) -> Comparison:
        """The result as the command says it."""
        return Comparison(
            ranked_by=RANKED,
            confidence=self.confidence,
            n_documents=self.n_documents,
            n_queries={"dev": _n(self.dev), "test": _n(self.test)},
            n_clusters=dict(self.n_clusters),
            systems=[self._system(name) for name in self.order],
            comparisons=list(self.comparisons),
            room=self.room,
            sentences=self.lines,
        )

    def _system(self, name: str) -> SystemFigures:
        facts = self.facts[name]
        return SystemFigures(
            name=name,
            kind=facts.kind,
            about=facts.about,
            is_chosen_on_dev=facts.is_chosen_on_dev,
            seconds_per_1000_documents=facts.seconds,
            bytes_per_1000_documents=facts.bytes,
            dev=means(self.dev[name]),
            test=means(self.test[name]) if name in self.test else None,
            notes=facts.notes,
        )


def _n(values: Mapping[str, Values]) -> int:
    return len(next(iter(values.values()))[RANKED])


def tables(found: Comparison) -> list[Table]:
    """Builds the table of dev, with costs, and that of test with the best two."""
    return [_dev(found), _test(found)]


def _dev(found: Comparison) -> Table:
    title = f"dev, {found.n_queries['dev']:,} queries, {found.n_documents:,} documents"
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    for head in (*SHOWN, f"{RANKED} less {BASE}", "tokens", "s / 1,000 documents", "MB / 1,000 documents"):
        table.add_column(head, justify="right")
    against = {row.system: row for row in found.comparisons if row.split == "dev"}
    for system in found.systems:
        table.add_row(
            Text(system.name),
            *(score(system.dev[measure]) for measure in SHOWN),
            _difference(against.get(system.name)),
            _number(system.about.get("max_length"), 1, 0),
            _number(system.seconds_per_1000_documents, 1, 1),
            _number(system.bytes_per_1000_documents, 1e-6, 2),
        )
    return table


def _test(found: Comparison) -> Table:
    title = f"test, {found.n_queries['test']:,} queries, the best two on dev"
    table = Table(title=title, title_justify="left")
    table.add_column("system")
    for head in SHOWN:
        table.add_column(head, justify="right")
    for system in found.systems:
        if system.test is not None:
            table.add_row(Text(system.name), *(score(system.test[measure]) for measure in SHOWN))
    table.add_section()
    rows = {row.measure: row for row in found.comparisons if row.split == "test"}
    table.add_row("difference", *(_difference(rows[name]) if name in TESTED else "" for name in SHOWN))
    return table


def _difference(row: Difference | None) -> str:
    if row is None:
        return ""
    return f"{signed(row.delta, 3)} [{signed(row.ci_low, 3)}, {signed(row.ci_high, 3)}], {p_value(row.p_holm)}"


def _number(value: float | None, factor: float, digits: int) -> str:
    return "–" if value is None else f"{value * factor:,.{digits}f}"
