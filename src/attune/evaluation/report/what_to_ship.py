"""Table *What to ship*: every way to serve queries with its gain and its costs, and the one that the rule names.

The rule, in words in `RULE`: the best has the highest headline measure on test; as good as the best is a way whose
interval against it excludes a loss of `gate.margin` (`decision.decide`, as everywhere); of these, one that keeps the
base's index goes before others, then the one whose query costs least. A way that loses more than `drift.max_cost` on a
general or near-domain task is not named, however well it does on test: other queries come, too. The best of several is
picked by chance, too, which makes the others look worse than they are: the rule then errs towards the best, never
towards a cheaper one. Nothing is chosen for the pipeline here: what `models/onnx` holds does not depend on it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from attune.evaluation.report.markdown import number, percent
from attune.evaluation.report.other_systems import scores_of
from attune.evaluation.report.summary import Paired, Rule
from attune.evaluation.report.times import Times
from attune.evaluation.report.ways import BASE, TUNED, WAYS, Way
from attune.evaluation.statistics.decision import Change, Status, decide
from attune.evaluation.statistics.significance import Interval, compare
from attune.runtime.arrays import Float64, Int64

SHOWN = ("recall@10", "ndcg@10")  # measures of the table, beside the headline
RULE = (
    "The best has the highest {headline}. As good as the best is a choice whose interval against it excludes a loss of "
    "{margin}. Of these, one that keeps base's index is named before others, then the one whose query costs least; "
    "none that loses more than {max_cost} on a general or near-domain task."
)


@dataclass(frozen=True)
class Choice:
    """A way to serve queries, with its scores and costs.

    Attributes:
        system: name of its scores.
        headline: mean of the headline measure on the counted test queries.
        scores: means of SHOWN.
        gain: its headline less base's, with the interval.
        against_best: its headline less the best's, with the interval.
        is_as_good: whether the interval excludes a loss of the margin against the best; true of the best.
        is_reindexed: whether documents that base has embedded must be embedded again.
        query: what happens for a query, in words.
        model_bytes: of the files that embedding a query reads; None where nobody measured.
        bytes_per_vector: of its documents' vectors in float32; None without vectors.
        general_cost: largest relative loss on general tasks; None where it has none of its own, or none was measured.
        general_words: why it has none, in words; "" otherwise.
        near_cost: largest relative loss on near-domain tasks; None where there are none, or it has none of its own.
        is_too_costly: whether one of the two is above drift.max_cost, so that it is not named.
        seconds: to make it, beside embedding documents with base; None where nobody measured.
        milliseconds: of a query, median; None where nobody measured.
        embedding_milliseconds: of embedding it alone, likewise.
    """

    system: str
    headline: float
    scores: Mapping[str, float]
    gain: Interval
    against_best: Interval
    is_as_good: bool
    is_reindexed: bool
    query: str
    model_bytes: int | None
    bytes_per_vector: int | None
    general_cost: float | None
    general_words: str
    near_cost: float | None
    is_too_costly: bool
    seconds: float | None
    milliseconds: float | None
    embedding_milliseconds: float | None


@dataclass(frozen=True)
class Costs:
    """Costs that other stages and `attune times` know.

    Attributes:
        is_reindex_needed: what stage drift says of tuned.
        general_costs: largest loss on general tasks, by system.
        near_costs: largest loss on near-domain tasks, by system; empty without such tasks.
        bytes_per_vector: by encoder of the documents.
        times: measured by `attune times`.
        max_cost: largest loss on a task of a way that may be named (drift.max_cost).
    """

    is_reindex_needed: bool
    general_costs: Mapping[str, float]
    near_costs: Mapping[str, float]
    bytes_per_vector: Mapping[str, int]
    times: Times
    max_cost: float

    @classmethod
    def of(cls, drift: Mapping[str, Any], storage: Mapping[str, Any], times: Times, max_cost: float) -> Self:
        """Takes the costs from the receipts of stages drift and storage, and from what `attune times` measured."""
        full = ".float32.bytes"
        n_bytes = {key.removesuffix(full): int(value) for key, value in storage.items() if key.endswith(full)}
        general = _by_system(drift, "largest_cost")
        near = _by_system(drift, "largest_near_cost") if drift.get("n_near_domain_tasks") else {}
        return cls(bool(drift["is_reindex_needed"]), general, near, n_bytes, times, max_cost)

    def is_reindexed(self, way: Way) -> bool:
        """Tells whether a way needs documents embedded again."""
        return way.vectors not in ("", BASE) and self.is_reindex_needed

    def is_too_costly(self, way: Way) -> bool:
        """Tells whether a way loses more than drift.max_cost on a general or near-domain task."""
        return any(costs.get(way.loses_as, 0.0) > self.max_cost for costs in (self.general_costs, self.near_costs))

    def seconds_of(self, way: Way) -> float | None:
        """Returns the seconds of a way's stages, rounds and all; None where one of them was not measured."""
        found = [
            [seconds for name, seconds in self.times.seconds.items() if stage in (name, name.partition("@")[0])]
            for stage in way.stages
        ]
        return float(sum(map(sum, found))) if all(found) else None


@dataclass(frozen=True)
class Decision:
    """The choices, cheapest first, and those that the rule names.

    Attributes:
        choices: of all ways.
        headline: measure that decides.
        named: system to ship; "" where too few test queries are without leaks.
        best: system with the highest headline.
        without_reindex: system to ship over the base's index, by the same rule among those; "" likewise.
        margin: loss that a choice as good as the best excludes.
        confidence: of the intervals.
        n_queries: that were counted.
        max_cost: largest loss on a general or near-domain task of a named choice.
    """

    choices: Sequence[Choice]
    headline: str
    named: str
    best: str
    without_reindex: str
    margin: float
    confidence: float
    n_queries: int
    max_cost: float

    def of(self, system: str) -> Choice:
        """Returns the choice of this name."""
        return next(choice for choice in self.choices if choice.system == system)

    @property
    def rule(self) -> str:
        """The rule in words."""
        return RULE.format(headline=self.headline, margin=number(self.margin), max_cost=percent(self.max_cost, 0))


def decided(
    runs: Path,
    test: Paired,
    leaked: Collection[str] | None,
    costs: Costs,
    rule: Rule,
    ways: Sequence[Way] = WAYS,
) -> Decision:
    """Compares all ways on test, and names one.

    Args:
        runs: data/runs, with the scores.
        test: scores of base and tuned.
        leaked: queries that do not count; None where fewer than two clusters would be left: all count, none is named.
        costs: of ways and their parts.
        rule: headline measure, margin and confidence.
        ways: base among them.

    Raises:
        BadInput: a system was scored on other queries than base.
    """
    kept = np.array([id_ not in (leaked or ()) for id_ in test.query_ids], dtype=np.bool_)
    ordered = sorted(ways, key=lambda way: _cost(way, costs))
    headline, margin = rule.headline, rule.margin
    measures = list(dict.fromkeys((headline, *SHOWN)))
    read_scores = {way.system: scores_of(way.system, runs, test, measures) for way in ordered}
    scores = {system: {name: values[kept] for name, values in own.items()} for system, own in read_scores.items()}
    compared = Compared({system: own[headline] for system, own in scores.items()}, test.clusters[kept], rule.confidence)
    best = compared.best(ordered)
    choices = [
        Choice(
            system=way.system,
            headline=compared.mean(way.system),
            scores={name: float(scores[way.system][name].mean()) for name in SHOWN},
            gain=compared.against(way.system, BASE),
            against_best=compared.against(way.system, best),
            is_as_good=compared.is_as_good(way.system, best, margin),
            is_reindexed=costs.is_reindexed(way),
            query=way.query_words,
            model_bytes=costs.times.model_bytes.get(way.encodes_as),
            bytes_per_vector=costs.bytes_per_vector.get(way.vectors),
            general_cost=costs.general_costs.get(way.loses),
            general_words=way.loss_words,
            near_cost=costs.near_costs.get(way.loses),
            is_too_costly=costs.is_too_costly(way),
            seconds=costs.seconds_of(way),
            milliseconds=costs.times.milliseconds.get(way.system),
            embedding_milliseconds=costs.times.embedding_milliseconds.get(way.encodes_as),
        )
        for way in ordered
    ]
    over_base = [way for way in ordered if not costs.is_reindexed(way)]
    named = (
        ("", "")
        if leaked is None
        else (_named(ordered, compared, costs, margin), _named(over_base, compared, costs, margin))
    )
    return Decision(
        choices, headline, named[0], best, named[1], margin, rule.confidence, int(kept.sum()), costs.max_cost
    )


def _by_system(drift: Mapping[str, Any], key: str) -> dict[str, float]:
    """Returns a figure of stage drift for each system that has it; base loses nothing against itself."""
    costs = {name.removesuffix(f".{key}"): value for name, value in drift.items() if name.endswith(f".{key}")}
    return costs | {BASE: 0.0} | ({TUNED: drift[key]} if key in drift else {})


def _cost(way: Way, costs: Costs) -> tuple[bool, Any]:
    return costs.is_reindexed(way), way.cost


def _named(ordered: Sequence[Way], compared: "Compared", costs: Costs, margin: float) -> str:
    """Returns the cheapest of the ways as good as the best of them; of equally cheap ones that with the best mean.

    Ways that are too costly on other tasks do not count; base, which loses nothing against itself, always does.
    """
    allowed = [way for way in ordered if not costs.is_too_costly(way)]
    best = compared.best(allowed)
    good = [way for way in allowed if compared.is_as_good(way.system, best, margin)]
    return compared.best([way for way in good if _cost(way, costs) == _cost(good[0], costs)])


@dataclass(frozen=True)
class Compared:
    """The (n_queries,) headline scores of all systems, and the queries' clusters."""

    scores: Mapping[str, Float64]
    clusters: Int64
    confidence: float

    def mean(self, system: str) -> float:
        """Returns a system's mean."""
        return float(self.scores[system].mean())

    def best(self, ways: Sequence[Way]) -> str:
        """Returns the system with the highest mean, the first of equals."""
        return max((way.system for way in ways), key=self.mean)

    def against(self, system: str, other: str) -> Interval:
        """Returns a system's mean less another's, with the interval."""
        before, after = ({"headline": self.scores[one]} for one in (other, system))
        one = compare(before, after, self.clusters, self.confidence)["headline"]
        return Interval(one.delta, one.ci_low, one.ci_high)

    def is_as_good(self, system: str, best: str, margin: float) -> bool:
        """Tells whether a system is the best, or its interval against it excludes a loss of the margin."""
        found = self.against(system, best)
        change = Change(found.delta, found.ci_low, found.ci_high)
        return system == best or decide(change, margin, self.confidence) is Status.PASSED
