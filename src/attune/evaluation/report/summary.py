"""Scores in report.json: headline figures, comparisons, slices and gains without leaks."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.report.markdown import signed
from attune.evaluation.report.other_measures import other_measures
from attune.evaluation.report.protocol import new_in_test, only_like_these
from attune.evaluation.report.verdict import (
    OVER_SEEDS,
    HeadlineResult,
    corrected_for,
    too_few,
    verdict,
    verdict_despite_leaks,
)
from attune.evaluation.scoring.measures import HEADLINE, MEASURES
from attune.evaluation.scoring.query_clusters import clusters_of
from attune.evaluation.statistics.comparisons import Scores, TaskComparison
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.shares import score_share_interval
from attune.evaluation.statistics.significance import Comparison, Interval, compare, compare_seeds
from attune.evaluation.statistics.slice_comparisons import SliceComparison, SliceCounts, SliceRules, sentence
from attune.runtime.arrays import Int64
from attune.tables import read, scores_columns, seed_scores_columns

SCORES, SEED_SCORES = scores_columns(MEASURES), seed_scores_columns(MEASURES)
EXPORTED = ("tuned_int8",)
TASKS = ("test", "paraphrases")  # paired comparisons; not dev, which model selection uses

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Scores of base and tuned on the same queries, in their order.

    Attributes:
        query_ids: of the queries.
        clusters: (n_queries,) number of each query's cluster, which the split's protocol keeps whole.
        base: by measure, (n_queries,) values.
        tuned: likewise.
    """

    query_ids: list[str]
    clusters: Int64
    base: Mapping[str, Values]
    tuned: Mapping[str, Values]

    @property
    def n_clusters(self) -> int:
        """Number of clusters that the queries are in."""
        return len(np.unique(self.clusters))

    def without(self, query_ids: Collection[str]) -> "Paired":
        """Returns the scores without the given queries."""
        kept = np.array([id_ not in query_ids for id_ in self.query_ids], dtype=np.bool_)
        ids = [id_ for id_, is_kept in zip(self.query_ids, kept, strict=True) if is_kept]
        base, tuned = ({name: values[kept] for name, values in side.items()} for side in (self.base, self.tuned))
        return Paired(ids, self.clusters[kept], base, tuned)


def _values(scores: pl.DataFrame) -> dict[str, Values]:
    return {name: scores[name].to_numpy() for name in MEASURES}


def paired_scores(runs: Path, splits: Path) -> dict[str, Paired]:
    """Reads the scores of base and tuned on test and, where these are in two clusters or more, on paraphrases.

    Args:
        runs: data/runs, with the scores.
        splits: data/splits, with the queries' clusters.

    Raises:
        BadInput: base and tuned were not scored on the same queries, or not on those of the split.
    """
    sides = [read(runs / system / "scores.parquet", SCORES).sort("query_id") for system in ("base", "tuned")]
    scores = {}
    for task in TASKS:
        base, tuned = (side.filter(pl.col("split") == task) for side in sides)
        if not base["query_id"].equals(tuned["query_id"]):
            raise BadInput(f"report: base and tuned were scored on different {task} queries; run `dvc repro`")
        if task != "test" and base.height < 2:
            continue
        query_ids = base["query_id"].to_list()
        paired = Paired(query_ids, clusters_of(splits / task, query_ids), _values(base), _values(tuned))
        if task == "test" or paired.n_clusters > 1:
            scores[task] = paired
    return scores


def kept_intervals(runs: Path, scores: Paired, confidence: float) -> dict[str, dict[str, float]]:
    """Returns the interval of the share of tuned nDCG@10 on test that each exported file keeps, by system.

    Raises:
        BadInput: a file was scored on other queries than tuned.
    """
    intervals = {}
    for system in EXPORTED:
        file = runs / system / "scores.parquet"
        table = read(file, SCORES).filter(pl.col("split") == "test").sort("query_id")
        if table["query_id"].to_list() != scores.query_ids:
            raise BadInput(f"{file}: tuned and {system} were scored on different test queries; run `dvc repro`")
        kept, of = table["ndcg@10"].to_numpy(), scores.tuned["ndcg@10"]
        low, high = score_share_interval(kept, of, scores.clusters, confidence)
        intervals[system] = {"ci_low": low, "ci_high": high}
    return intervals


def seed_scores(file: Path, query_ids: list[str]) -> list[dict[str, Values]]:
    """Reads the scores of each seed's encoder on these test queries, in their order.

    Raises:
        BadInput: there is no seed, or one was not scored on these queries.
    """
    table = read(file, SEED_SCORES).filter(pl.col("split") == "test", pl.col("query_id").is_in(query_ids))
    sides = [side.sort("query_id") for side in table.partition_by("seed", maintain_order=True)]
    if not sides or any(side["query_id"].to_list() != query_ids for side in sides):
        raise BadInput(f"{file}: base and the seeds were scored on different test queries; run `dvc repro`")
    return [_values(side) for side in sides]


Receipts = Mapping[str, Mapping[str, Any]]


class Rule(NamedTuple):
    """Rule of the verdict.

    Attributes:
        confidence: of the intervals; 1 less the significance level.
        margin: change that is as good as none.
        power: at which the smallest detectable difference is given.
        headline: measure of the verdict, one of those that stage seeds compares.
    """

    confidence: float
    margin: float
    power: float
    headline: str = HEADLINE


def comparison_of(row: TaskComparison) -> Comparison:
    """Returns the comparison that a row of comparisons.csv holds."""
    return Comparison(row.delta, row.low, row.high, row.p, row.wins, row.ties, row.losses)


def headline_result(
    paired: Mapping[str, Comparison],
    others: Sequence[TaskComparison],
    scores: Paired,
    of_seeds: Sequence[Scores],
    rule: Rule,
) -> HeadlineResult:
    """Summarises the comparisons on some test queries.

    Args:
        paired: comparisons by measure.
        others: comparisons on other tasks, for which the p-values are corrected as well.
        scores: of base and tuned on the same queries.
        of_seeds: scores of each trained seed on the same queries.
        rule: of the verdict.
    """
    base, tuned = scores.base[rule.headline], scores.tuned[rule.headline]
    other_p_values = tuple(row.p for row in others)
    n = len(paired) + len(other_p_values)
    return HeadlineResult(
        paired=paired,
        corrected=corrected_for(paired, other_p_values),
        base=float(base.mean()),
        tuned=float(tuned.mean()),
        sensitivity=Sensitivity.of(tuned - base, scores.clusters, rule.confidence, rule.power, n),
        over_seeds=_over_seeds(scores, of_seeds, rule.confidence) if len(of_seeds) > 1 else {},
        n_seeds=len(of_seeds),
        margin=rule.margin,
        headline=rule.headline,
        other_p_values=other_p_values,
    )


def _over_seeds(scores: Paired, of_seeds: Sequence[Scores], confidence: float) -> dict[str, Interval]:
    """Returns the mean change over seeds of each measure that stage seeds compares, with its interval."""
    stacked = {name: np.stack([values[name] for values in of_seeds]) for name in OVER_SEEDS}
    return compare_seeds({name: scores.base[name] for name in OVER_SEEDS}, stacked, scores.clusters, confidence)


def headline_results(
    rows: Sequence[TaskComparison],
    scores: Paired,
    leaked: Collection[str],
    seeds: Path,
    rule: Rule,
) -> tuple[HeadlineResult, HeadlineResult | None]:
    """Returns the result on all test queries and that on those without leaks (None: fewer than two clusters).

    Raises:
        BadInput: the seeds were not scored on the same queries.
    """
    paired = {row.measure: comparison_of(row) for row in rows if row.task == "test"}
    others = [row for row in rows if row.task != "test"]
    whole = headline_result(paired, others, scores, seed_scores(seeds, scores.query_ids), rule)
    if not leaked:
        return whole, whole
    clean = scores.without(leaked)
    if clean.n_clusters < 2:
        return whole, None
    paired = compare(clean.base, clean.tuned, clean.clusters, rule.confidence)
    return whole, headline_result(paired, others, clean, seed_scores(seeds, clean.query_ids), rule)


def counted_result(results: tuple[HeadlineResult, HeadlineResult | None], leaks: str) -> HeadlineResult:
    """Returns the result that the verdict counts: without leaks where test leaks and enough is left, else the whole."""
    whole, clean = results
    return clean if leaks and clean else whole


def headline(
    receipts: Receipts,
    systems: Sequence[str],
    results: tuple[HeadlineResult, HeadlineResult | None],
    leaks: str,
    worse: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Returns the first part of report.json, which begins with the four headline figures.

    Args:
        receipts: by name, among them the probe's of base.
        systems: listed with their scores.
        results: on all test queries, and on those without leaks.
        leaks: counts of test items that are also in train or dev, in words; empty where there are none.
        worse: significantly worse slices.
    """
    (whole, clean), counted, base, tuned = results, counted_result(results, leaks), receipts["base"], receipts["tuned"]
    kept = {name: receipts[name]["ndcg@10"] / (tuned["ndcg@10"] or 1) for name in EXPORTED}
    sentences = verdict_despite_leaks(whole, clean, leaks) if leaks else verdict(whole)
    return {
        "baseline_recall@10": base[HEADLINE],
        "tuned_recall@10": tuned[HEADLINE],
        "mrr": tuned["mrr@10"],
        "delta": signed(tuned[counted.headline] - base[counted.headline]),
        "headline": counted.headline,
        "n_test_queries": tuned["n_queries"],
        "new_in_test": new_in_test(receipts["split"], leaks),
        "verdict": " ".join(filter(None, [sentences, other_measures(counted), only_like_these(receipts["probe"])])),
        "n_comparisons": counted.sensitivity.n_comparisons,
        "too_few_queries": too_few(counted),
        "n_worse_slices": len(worse),
        "worse_slices": "; ".join(f"{row['slice']}: {row['bin']}" for row in worse),
        "smallest_detectable": counted.sensitivity.smallest_detectable,
        "systems": {system: {measure: receipts[system][measure] for measure in MEASURES} for system in systems},
        "paired": asdict(whole)["paired"],
        "paired_over_seeds": asdict(counted)["over_seeds"],
        "paired_without_leaks": _with_corrected(clean) if clean and leaks else {},
        "ndcg@10_kept_share": kept,
    }


def _with_corrected(result: HeadlineResult) -> dict[str, dict[str, Any]]:
    """Returns the comparisons by measure, with their corrected p-values."""
    return {name: asdict(one) | {"p_holm": result.corrected[name]} for name, one in result.paired.items()}


def add_comparisons(summary: dict[str, Any], rows: Sequence[TaskComparison]) -> None:
    """Adds to report.json the other tasks, and to the comparisons on test their corrected p-values."""
    summary["tasks"] = {}
    for row in rows:
        corrected = {"p_holm": row.p_holm, "smallest_detectable": row.smallest_detectable}
        if row.task == "test":
            summary["paired"][row.measure] |= corrected
        else:
            summary["tasks"].setdefault(row.task, {})[row.measure] = (
                {"n": row.n} | asdict(comparison_of(row)) | corrected
            )


def of_slices(rows: Sequence[SliceComparison]) -> dict[str, Any]:
    """Returns the figures of slices by trait and bin; `detectable` is missing where no loss could have been found."""
    slices: dict[str, Any] = {}
    for row in rows:
        figures = {key: value for key, value in asdict(row).items() if value is not None and not key.startswith("is_")}
        slices.setdefault(figures.pop("slice"), {})[figures.pop("bin")] = figures
    return slices


def counted_slices(rows: Sequence[SliceComparison], counts: SliceCounts, rules: SliceRules) -> dict[str, Any]:
    """Returns the counts of all slices, shown or not, with the outcome and its sentence."""
    return asdict(counts) | {
        "max_slice_loss": rules.margin,
        "outcome": counts.outcome,
        "sentence": sentence(rows, counts, rules),
    }
