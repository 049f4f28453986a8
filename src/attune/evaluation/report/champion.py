"""Tuned against the champion, an encoder released earlier, on the test queries that the champion cannot have seen."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from attune.errors import BadInput
from attune.evaluation.report.markdown import number, score, signed
from attune.evaluation.report.summary import SCORES, Paired
from attune.evaluation.scoring.measures import HEADLINE
from attune.evaluation.statistics.holm import holm
from attune.evaluation.statistics.significance import compare
from attune.tables import read

COMPARED = ("recall@10", "mrr@10", "ndcg@10")


def champion_of(
    folder: Path, receipt: Mapping[str, Any], test: Paired, leaked: set[str], confidence: float
) -> dict[str, Any]:
    """Compares tuned with the champion, query by query; {} where there is no champion.

    Their p-values are a family of their own, so that a champion changes none of the verdict's.

    Args:
        folder: data/champion, with its scores.
        receipt: of stage champion.
        test: scores of base and tuned, and the queries' clusters.
        leaked: test queries that leak by words into today's train or dev; tuned has seen them, so they are left out.
        confidence: of the intervals.

    Raises:
        BadInput: the champion was scored on a query that tuned was not, or on fewer than two clusters.
    """
    if not receipt["name"]:
        return {}
    file = folder / "scores.parquet"
    table = read(file, SCORES).filter(~pl.col("query_id").is_in(list(leaked))).sort("query_id")
    ids = table["query_id"].to_list()
    place = {id_: row for row, id_ in enumerate(test.query_ids)}
    if unknown := [id_ for id_ in ids if id_ not in place]:
        raise BadInput(f"{file}: tuned was not scored on {unknown[0]!r} and {len(unknown) - 1} more; run `dvc repro`")
    rows = [place[id_] for id_ in ids]
    clusters = test.clusters[rows]
    own = {measure: table[measure].to_numpy() for measure in COMPARED}
    tuned = {measure: test.tuned[measure][rows] for measure in COMPARED}
    compared = compare(own, tuned, clusters, confidence)
    corrected = holm([one.p_value for one in compared.values()])
    return {
        "name": receipt["name"],
        "n_queries": len(ids),
        "n_clusters": len(set(clusters.tolist())),
        "n_left_out": len(test.query_ids) - len(ids),
        "is_training_known": receipt["is_training_known"],
        "scores": {
            measure: {"champion": float(own[measure].mean()), "tuned": float(tuned[measure].mean())}
            for measure in COMPARED
        },
        "paired": {
            measure: asdict(one) | {"p_holm": p} for (measure, one), p in zip(compared.items(), corrected, strict=True)
        },
    }


def champion_sentence(champion: Mapping[str, Any], confidence: float) -> str:
    """Returns tuned against the champion in recall@10 in a sentence, and what was left out; "" without a champion."""
    if not champion:
        return ""
    change, scores = champion["paired"][HEADLINE], champion["scores"][HEADLINE]
    low, high = (signed(change[key], 3) for key in ("ci_low", "ci_high"))
    left = f", without {number(champion['n_left_out'])} that either may have seen" if champion["n_left_out"] else ""
    unknown = "" if champion["is_training_known"] else " Nobody knows which of them the champion has seen."
    return (
        f"Against the champion {champion['name']} on {number(champion['n_queries'])} of today's test queries{left}: "
        f"{HEADLINE} {score(scores['champion'])} to {score(scores['tuned'])} ({signed(change['delta'], 3)}, "
        f"{number(100 * confidence)}% interval {low} to {high}).{unknown}"
    )
