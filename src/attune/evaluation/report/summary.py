"""What report.json says of scores: headline figures, comparisons and slices, under keys that stay as they are."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.evaluation.report.markdown import signed
from attune.evaluation.report.verdict import OVER_SEEDS, Outcome, too_few, verdict, verdict_despite_leaks
from attune.evaluation.scoring.measures import HEADLINE, MEASURES
from attune.evaluation.statistics.chance import floor
from attune.evaluation.statistics.comparisons import Resampling, Scores, TaskComparison
from attune.evaluation.statistics.power import Sensitivity
from attune.evaluation.statistics.significance import Comparison, Interval, compare, compare_seeds
from attune.evaluation.statistics.slices import SliceComparison
from attune.tables import LEXICAL, SEMANTIC, Leak, read, scores_columns, seed_scores_columns

SCORES, SEED_SCORES = scores_columns(MEASURES), seed_scores_columns(MEASURES)
TASKS = ("test", "paraphrases")  # compared query by query; dev is not, since choices were made on it

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """Base's and tuned's scores on the same queries: (n_queries,) values of each measure, by query id."""

    query_ids: list[str]
    base: Mapping[str, Values]
    tuned: Mapping[str, Values]

    def without(self, query_ids: Collection[str]) -> "Paired":
        """The same of the other queries."""
        kept = np.array([id_ not in query_ids for id_ in self.query_ids], dtype=np.bool_)
        left = [id_ for id_, is_kept in zip(self.query_ids, kept, strict=True) if is_kept]
        base, tuned = ({name: values[kept] for name, values in side.items()} for side in (self.base, self.tuned))
        return Paired(left, base, tuned)


def _values(scores: pl.DataFrame) -> dict[str, Values]:
    return {name: scores[name].to_numpy() for name in MEASURES}


def paired_scores(runs: Path) -> dict[str, Paired]:
    """The scores of base and of tuned on test, and on the paraphrases where there are two or more.

    Raises:
        BadInput: they were not scored on the same queries.
    """
    sides = [read(runs / system / "scores.parquet", SCORES).sort("query_id") for system in ("base", "tuned")]
    found = {}
    for task in TASKS:
        base, tuned = (side.filter(pl.col("split") == task) for side in sides)
        if not base["query_id"].equals(tuned["query_id"]):
            raise BadInput(f"report: base and tuned were scored on different {task} queries; run `dvc repro`")
        if task == "test" or base.height > 1:
            found[task] = Paired(base["query_id"].to_list(), _values(base), _values(tuned))
    return found


def seed_scores(file: Path, query_ids: list[str]) -> list[dict[str, Values]]:
    """The scores of each trained seed's encoder on these test queries, in their order.

    Raises:
        BadInput: a seed was not scored on these queries, or there is none.
    """
    table = read(file, SEED_SCORES).filter(pl.col("split") == "test", pl.col("query_id").is_in(query_ids))
    sides = [side.sort("query_id") for side in table.partition_by("seed", maintain_order=True)]
    if not sides or any(side["query_id"].to_list() != query_ids for side in sides):
        raise BadInput(f"{file}: base and the seeds were scored on different test queries; run `dvc repro`")
    return [_values(side) for side in sides]


Receipts = Mapping[str, Mapping[str, Any]]


def comparison_of(row: TaskComparison) -> Comparison:
    """A row without its task's and measure's own figures."""
    return Comparison(row.delta, row.low, row.high, row.p, row.wins, row.ties, row.losses)


def outcome_of(
    paired: Mapping[str, Comparison], scores: Paired, of_seeds: Sequence[Scores], resampling: Resampling, power: float
) -> Outcome:
    """What the comparisons of these test queries come to, with one set of scores for each trained seed."""
    base, tuned = scores.base[HEADLINE], scores.tuned[HEADLINE]
    intervals: dict[str, Interval] = {}
    if len(of_seeds) > 1:
        stacked = {name: np.stack([values[name] for values in of_seeds]) for name in OVER_SEEDS}
        intervals = compare_seeds({name: scores.base[name] for name in OVER_SEEDS}, stacked, *resampling)
    sensitivity = Sensitivity.of(tuned - base, resampling.confidence, power)
    means = float(base.mean()), float(tuned.mean())
    return Outcome(paired, *means, sensitivity, intervals, len(of_seeds), floor(resampling.n_resamples))


def outcomes(
    rows: Sequence[TaskComparison],
    scores: Paired,
    leaked: Collection[str],
    seeds: Path,
    resampling: Resampling,
    power: float,
) -> tuple[Outcome, Outcome | None]:
    """The outcome on all test queries, and that on those that do not leak (None where fewer than two are left).

    Raises:
        BadInput: the seeds were not scored on the same queries.
    """
    paired = {row.measure: comparison_of(row) for row in rows if row.task == "test"}
    whole = outcome_of(paired, scores, seed_scores(seeds, scores.query_ids), resampling, power)
    if not leaked:
        return whole, whole
    clean = scores.without(leaked)
    if len(clean.query_ids) < 2:
        return whole, None
    paired = compare(clean.base, clean.tuned, *resampling)
    return whole, outcome_of(paired, clean, seed_scores(seeds, clean.query_ids), resampling, power)


def headline(
    receipts: Receipts,
    systems: Sequence[str],
    outcomes: tuple[Outcome, Outcome | None],
    leaks: str,
    cut: Mapping[str, Any],
) -> dict[str, Any]:
    """The first part of report.json: the four headline figures on top; a leaking test split is part of the verdict.

    Args:
        receipts: by name.
        systems: whose scores are told.
        outcomes: on all test queries, and on those that do not leak.
        leaks: what of test is also in train or dev, in words.
        cut: the slices that got worse, and whether any could have been found to.
    """
    (whole, clean), base, tuned = outcomes, receipts["base"], receipts["tuned"]
    kept = {name: receipts[name]["ndcg@10"] / (tuned["ndcg@10"] or 1) for name in ("onnx", "onnx_int8")}
    counted = clean if leaks and clean else whole
    return {
        "baseline_recall@10": base[HEADLINE],
        "tuned_recall@10": tuned[HEADLINE],
        "mrr": tuned["mrr@10"],
        "delta": signed(tuned[HEADLINE] - base[HEADLINE]),
        "n_test_queries": tuned["n_queries"],
        "verdict": verdict_despite_leaks(whole, clean, leaks) if leaks else verdict(whole),
        "too_few_queries": too_few(counted),
        "too_few_resamples": cut["too_few_resamples"],
        "n_worse_slices": len(cut["worse"]),
        "worse_slices": "; ".join(f"{row['slice']}: {row['bin']}" for row in cut["worse"]),
        "smallest_detectable": counted.sensitivity.smallest_detectable,
        "systems": {system: {measure: receipts[system][measure] for measure in MEASURES} for system in systems},
        "paired": asdict(whole)["paired"],
        "paired_over_seeds": asdict(counted)["over_seeds"],
        "paired_without_leaks": asdict(clean)["paired"] if clean and leaks else {},
        "ndcg@10_kept_share": kept,
    }


def add_comparisons(summary: dict[str, Any], rows: Sequence[TaskComparison]) -> None:
    """Adds what was corrected for all comparisons to those of test, and the other tasks."""
    summary["tasks"] = {}
    for row in rows:
        told = {"p_holm": row.p_holm, "smallest_detectable": row.smallest_detectable}
        if row.task == "test":
            summary["paired"][row.measure] |= told
        else:
            summary["tasks"].setdefault(row.task, {})[row.measure] = {"n": row.n} | asdict(comparison_of(row)) | told


def of_slices(rows: Sequence[SliceComparison]) -> dict[str, Any]:
    """The slices' figures by trait and values."""
    found: dict[str, Any] = {}
    for row in rows:
        figures = asdict(row)
        found.setdefault(figures.pop("slice"), {})[figures.pop("bin")] = figures
    return found


def leaked_queries(leaks: Iterable[Leak], answers: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    """The test queries that leak: by words, or by words or meaning; themselves, or through a relevant document.

    Args:
        leaks: of all kinds.
        answers: pairs (query id, relevant document id) of the test split.
    """
    answers = list(answers)
    of_test = [leak for leak in leaks if leak.split == "test"]
    found = {}
    for name, kinds in (("lexical", LEXICAL), ("any", LEXICAL + SEMANTIC)):
        own = {leak.leaked_id for leak in of_test if leak.kind in kinds and leak.kind.endswith("queries")}
        documents = {leak.leaked_id for leak in of_test if leak.kind in kinds and leak.kind.endswith("documents")}
        found[name] = own | {query_id for query_id, document_id in answers if document_id in documents}
    return found


def without_leaks(
    query_ids: Sequence[str], scores: Mapping[str, NDArray[np.float64]], leaked: Mapping[str, set[str]]
) -> dict[str, dict[str, float]]:
    """Mean scores over the queries that do not leak, for each definition of leaking.

    Args:
        query_ids: of all queries.
        scores: by name, (n queries,).
        leaked: by definition, the queries to leave out.
    """
    means: dict[str, dict[str, float]] = {}
    for name, ids in leaked.items():
        clean = np.array([query_id not in ids for query_id in query_ids])
        means[name] = {"n_queries": int(clean.sum())}
        if clean.any():
            means[name] |= {key: float(values[clean].mean()) for key, values in scores.items()}
    return means


def gains_without_leaks(
    scores: Paired, leaked: Mapping[str, Collection[str]], resampling: Resampling
) -> dict[str, dict[str, Any]]:
    """The headline measure on the queries that do not leak, by definition of leaking; with an interval from two on."""
    sides = {"baseline": scores.base[HEADLINE], "tuned": scores.tuned[HEADLINE]}
    found = without_leaks(scores.query_ids, sides, {name: set(ids) for name, ids in leaked.items()})
    for name, figures in found.items():
        if figures["n_queries"] > 1:
            clean = scores.without(leaked[name])
            gain = compare({HEADLINE: clean.base[HEADLINE]}, {HEADLINE: clean.tuned[HEADLINE]}, *resampling)[HEADLINE]
            figures |= {"delta": gain.delta, "ci_low": gain.ci_low, "ci_high": gain.ci_high}
    return found
