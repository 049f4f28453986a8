"""Systems beside base and tuned, each against base on the same test queries; the sentence on the query adapter.

Their comparisons are a family of their own: Holm's correction counts them together, and those of base and tuned apart,
so that a further system here changes no p-value of the verdict.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.evaluation.report.markdown import number, score, signed
from attune.evaluation.report.summary import SCORES, Paired
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.chance import is_significant
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import compare
from attune.runtime.arrays import Float64
from attune.tables import read

COMPARED = ("recall@10", "mrr@10", "ndcg@10")
UNTRAINED = "hybrid_base"
RANKED = "ndcg@10"  # measure of the static encoders' sentence


def scores_of(system: str, runs: Path, test: Paired, measures: Sequence[str] = COMPARED) -> dict[str, Float64]:
    """Reads a system's scores of the test queries by measure, (n_queries,) each.

    Raises:
        BadInput: it was scored on other queries than base.
    """
    file = runs / system / "scores.parquet"
    table = read(file, SCORES).filter(pl.col("split") == "test").sort("query_id")
    if table["query_id"].to_list() != test.query_ids:
        raise BadInput(f"{file}: base and {system} were scored on different test queries; run `dvc repro`")
    return {measure: table[measure].to_numpy() for measure in measures}


def compare_others(
    systems: Sequence[str],
    runs: Path,
    test: Paired,
    confidence: float,
    headline: str = HEADLINE,
    leaked: Collection[str] = (),
) -> tuple[dict[str, dict[str, dict[str, Any]]], dict[str, Any]]:
    """Compares each system with base on test, and BM25 fused with base with tuned.

    Args:
        systems: names of folders in `runs`, hybrid_base among them.
        runs: data/runs, with the scores.
        test: scores of base and tuned, and the queries' clusters.
        confidence: of the intervals.
        headline: measure in which hybrid_base is compared with tuned, one of COMPARED.
        leaked: test queries that do not count.

    Returns:
        Figures by system and measure; those of hybrid_base less tuned in the headline measure. `p_holm` is corrected
        over all.

    Raises:
        BadInput: a system was scored on other queries than base.
    """
    counted = test.without(leaked)
    kept = np.isin(test.query_ids, counted.query_ids)
    base = {measure: counted.base[measure] for measure in COMPARED}
    read_scores = {system: scores_of(system, runs, test) for system in systems}
    scores = {system: {name: values[kept] for name, values in own.items()} for system, own in read_scores.items()}
    compared = {system: compare(base, own, counted.clusters, confidence) for system, own in scores.items()}
    sides = {headline: counted.tuned[headline]}, {headline: scores[UNTRAINED][headline]}
    flat = [one for of_system in compared.values() for one in of_system.values()]
    flat += compare(*sides, counted.clusters, confidence).values()
    rows = [asdict(one) | {"p_holm": p} for one, p in zip(flat, holm([one.p_value for one in flat]), strict=True)]
    each = iter(rows)
    return {system: {measure: next(each) for measure in COMPARED} for system in systems}, rows[-1]


def hybrid_sentence(
    against_tuned: Mapping[str, Any], untrained: float, confidence: float, headline: str = HEADLINE
) -> str:
    """Returns a sentence where BM25 fused with base beats tuned alone, by interval and test; else "".

    Args:
        against_tuned: hybrid_base less tuned, from `compare_others`.
        untrained: headline measure of hybrid_base.
        confidence: of interval and test.
        headline: the measure.
    """
    if against_tuned["ci_low"] <= 0 or not is_significant(against_tuned["p_holm"], confidence):
        return ""
    level = number(100 * confidence)
    between = f"{level}% interval {signed(against_tuned['ci_low'], 3)} to {signed(against_tuned['ci_high'], 3)}"
    return (
        f"BM25 fused with base, without any training, is better than tuned alone: {headline} "
        f"{score(untrained)} ({signed(against_tuned['delta'], 3)}, {between})."
    )


def adapter_sentence(
    receipt: Mapping[str, Any],
    gain: Mapping[str, Any],
    base: float,
    tuned: float,
    confidence: float,
    headline: str = HEADLINE,
) -> str:
    """Returns what the query adapter is worth, in one or two sentences.

    Args:
        receipt: of stage adapter.
        gain: the adapter against base in the headline measure, from `compare_others`.
        base, tuned: headline measure on test.
        confidence: of the interval.
        headline: the measure.
    """
    if receipt["is_identity"]:
        if not receipt["n_steps"]:
            return "The query adapter is off (adapter.steps: 0) and leaves base's query embeddings as they are."
        dev = f"nDCG@10 {score(receipt['dev_ndcg@10'])}, base {score(receipt['base_dev_ndcg@10'])}"
        return (
            "The query adapter leaves base's query embeddings as they are: on dev no map of them beats base by more "
            f"than one standard error ({dev})."
        )
    between = f"{signed(gain['ci_low'], 3)} to {signed(gain['ci_high'], 3)}"
    return (
        f"The query adapter keeps every document embedding of base: {headline} goes from {score(base)} to "
        f"{score(base + gain['delta'])} ({signed(gain['delta'], 3)}, {number(100 * confidence)}% interval {between}), "
        f"tuned to {score(tuned)} with all documents embedded again."
    )


def static_sentence(
    is_off: bool,
    receipts: Mapping[str, Mapping[str, Any]],
    others: Mapping[str, Any],
    base: float,
    tuned: float,
    confidence: float,
) -> str:
    """Returns what the static query encoders keep of tuned and gain over base, in a few sentences.

    Args:
        is_off: true with static.steps: 0.
        receipts: of the systems and of stage drift, by name.
        others: gains over base by system and measure, from `compare_others`.
        base, tuned: nDCG@10 on the same queries.
        confidence: of the intervals.
    """
    if is_off:
        return "The static query encoders are off (static.steps: 0): static base and static tuned repeat base, tuned."
    level = number(100 * confidence)

    def kept(own: float, of: float) -> str:
        return f"{score(own)} of {score(of)}" + (f" ({100 * own / of:.0f}%)" if of else "")

    gain, own = others["static_base"][RANKED], base + others["static_tuned"][RANKED]["delta"]
    between = f"{level}% interval {signed(gain['ci_low'], 3)} to {signed(gain['ci_high'], 3)}"
    style = f"paraphrases_{RANKED}"
    other_style = ""
    if style in receipts["static_tuned"]:
        other_style = f", on paraphrases {kept(receipts['static_tuned'][style], receipts['tuned'][style])}"
    if (share := receipts["drift"].get("static_tuned.least_near_kept")) is not None:
        task = receipts["drift"]["static_tuned.least_near_kept_of"]
        other_style += f", on each near-domain task {100 * share:.0f}% or more (least: {task})"
    return (
        f"A static query encoder, a sum of token vectors without a transformer, keeps {kept(own, tuned)} of tuned's "
        f"{RANKED} over tuned's documents{other_style}. Over base's documents, none embedded again, {RANKED} goes from "
        f"{score(base)} to {score(base + gain['delta'])} ({signed(gain['delta'], 3)}, {between})."
    )
