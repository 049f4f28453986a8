"""Ranks systems on dev, compares the best two on test, and answers: would switching do, and has tuning room?

Dev ranks by nDCG@10 and compares each system with base. Test is looked at once, by the two that dev ranks first. All
comparisons are one family, over which Holm's correction counts; intervals and tests are those of the report: clusters
of queries, a paired randomization test, an interval with one winning and one losing cluster added.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from attune.cli.compare.interface import Difference, Room
from attune.evaluation.report.markdown import p_value, score, signed
from attune.evaluation.scoring.measures import MEASURES, RECALL_AT
from attune.evaluation.statistics.decision import Change, Status, decide
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import compare
from attune.retrieval.ndcg import dcg, gains, ideal_dcg
from attune.runtime.arrays import Float64, Int64

BASE = "base"
RANKED = "ndcg@10"  # measure by which dev ranks
TESTED = ("recall@10", "mrr@10", RANKED)  # measures in which the best two are compared on test
DEPTH = max(RECALL_AT)  # documents that count as found

Values = Mapping[str, Float64]  # (n_queries,) of each measure


class Compared(Difference):
    """A difference that decides, and says so in words."""

    @property
    def change(self) -> Change:
        """The difference in the form of the decision rule."""
        return Change(self.delta, self.ci_low, self.ci_high, self.p_holm)

    @property
    def turned(self) -> "Compared":
        """The same comparison with the two systems' places changed."""
        return replace(
            self,
            system=self.against,
            against=self.system,
            delta=-self.delta,
            ci_low=-self.ci_high,
            ci_high=-self.ci_low,
            wins=self.losses,
            losses=self.wins,
        )

    @property
    def words(self) -> str:
        """Difference, interval and p-value in words."""
        between = f"{signed(self.ci_low, 3)} to {signed(self.ci_high, 3)}"
        return f"{self.measure} {signed(self.delta, 3)} ({between}, {p_value(self.p_holm)})"


def ranked(dev: Mapping[str, Values]) -> list[str]:
    """Returns the systems by mean nDCG@10 on dev, the best first, of equals the one that was named first."""
    return sorted(dev, key=lambda name: -float(dev[name][RANKED].mean()))


def compare_all(
    dev: Mapping[str, Values],
    dev_clusters: Int64,
    test: Mapping[str, Values],
    test_clusters: Int64,
    chosen_on_dev: Collection[str],
    confidence: float,
) -> list[Compared]:
    """Compares each system with base on dev, and the two that were scored there on test.

    Args:
        dev: values of all systems, base among them.
        dev_clusters: (n_queries,) number of each query's cluster.
        test: values of the best two, the better on dev first.
        test_clusters: likewise.
        chosen_on_dev: systems that dev has helped to make, whose test there would say too much.
        confidence: of the intervals.

    Raises:
        BadInput: the queries of a split are in fewer than two clusters.
    """
    found = [
        _compared("dev", name, BASE, dev, [RANKED], dev_clusters, confidence)
        for name in dev
        if name != BASE and name not in chosen_on_dev
    ]
    first, second = test
    found.append(_compared("test", first, second, test, TESTED, test_clusters, confidence))
    flat = [one for of_pair in found for one in of_pair]
    return [replace(one, p_holm=p) for one, p in zip(flat, holm([one.p for one in flat]), strict=True)]


def _compared(
    split: str,
    system: str,
    against: str,
    values: Mapping[str, Values],
    measures: Sequence[str],
    clusters: Int64,
    confidence: float,
) -> list[Compared]:
    base, own = ({measure: values[name][measure] for measure in measures} for name in (against, system))
    return [
        Compared(
            split=split,
            system=system,
            against=against,
            measure=measure,
            delta=one.delta,
            ci_low=one.ci_low,
            ci_high=one.ci_high,
            p=one.p_value,
            p_holm=one.p_value,
            wins=one.wins,
            ties=one.ties,
            losses=one.losses,
        )
        for measure, one in compare(base, own, clusters, confidence).items()
    ]


def switching(rows: Sequence[Compared], confidence: float) -> list[str]:
    """Answers whether another system is better than base, by test where base is one of its two, else by dev.

    Args:
        rows: from `compare_all`.
        confidence: 1 less the level of significance.
    """
    pair = next(row for row in rows if row.split == "test" and row.measure == RANKED)
    family = f"Holm's correction over {len(rows)} comparisons"
    if BASE in (pair.system, pair.against):
        row = pair if pair.against == BASE else pair.turned
        return [f"{_answer(row, confidence)} on test: {row.words}; {family}."]
    on_test = f"{pair.system} {_relation(pair, confidence)} {pair.against} on test: {pair.words}; {family}."
    on_dev = {row.system: row for row in rows if row.split == "dev"}
    if pair.system not in on_dev:
        return [
            f"{pair.system} is the best on dev, which helped to make it; its gain over base is the report's.",
            on_test,
        ]
    best = on_dev[pair.system]
    return [f"{_answer(best, confidence)} on dev, which also ranked it first: {best.words}.", on_test]


def _answer(row: Compared, confidence: float) -> str:
    status = decide(row.change, 0.0, confidence)
    word = {Status.PASSED: "Yes", Status.FAILED: "No"}.get(status, "Cannot tell")
    return f"Would switching do? {word}: {row.system} {_relation(row, confidence)} {row.against}"


def _relation(row: Compared, confidence: float) -> str:
    status = decide(row.change, 0.0, confidence)
    return {Status.PASSED: "is better than", Status.FAILED: "is worse than"}.get(
        status, "is neither certainly better nor certainly worse than"
    )


def room_of(values: Values, rows: Int64, judgments: Int64) -> Room:
    """Measures the room for tuning that a ranking leaves.

    Args:
        values: of all measures.
        rows: (n_queries, depth) document rows, -1 where nothing is ranked.
        judgments: (n_judgments, 3) query row, document row, relevance.
    """
    best = -np.sort(-gains(rows[:, :DEPTH], judgments), axis=1)[:, :10]
    reachable = float((dcg(best) / ideal_dcg(judgments, len(rows), 10)).mean())
    found, now = (float(values[name].mean()) for name in (f"recall@{DEPTH}", RANKED))
    return Room(found, now, reachable, badly_ranked=reachable - now, not_found=1 - reachable)


def room_sentence(room: Room) -> str:
    """Says how much room for tuning there is, and what it takes."""
    facts = (
        f"base finds {room.found:.0%} of dev's relevant documents among its first {DEPTH} and has nDCG@10 "
        f"{score(room.now)}; their best order would have {score(room.best_order)}"
    )
    if room.badly_ranked >= room.not_found:
        advice = (
            f"most of what is missing is found and badly ranked ({signed(room.badly_ranked, 3)}, against "
            f"{score(room.not_found)} not found): tune"
        )
    else:
        advice = (
            f"most of what is missing is not found ({score(room.not_found)}, against {score(room.badly_ranked)} "
            "badly ranked): look at data, passages (prepare.passages, base.max_length) or another encoder first"
        )
    return f"Room for tuning: {facts}; {advice}."


def means(values: Values) -> dict[str, float]:
    """Returns the mean of each measure over the queries."""
    return {measure: float(values[measure].mean()) for measure in MEASURES}
