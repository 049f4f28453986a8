"""Tables of the report beside the scores on test: other tasks, candidates and rates, training curve, negatives."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from attune.errors import BadInput
from attune.evaluation.report.choice import candidate_of, candidate_words, checkpoint_words
from attune.evaluation.scoring.measures import MEASURES
from attune.plots import MERGE_CURVE, RATES, TRAINING_CURVE, read_csv
from attune.tables import NEGATIVE_SAMPLE, QRELS, read, scores_columns
from attune.tuning.curve import BASE, Point

Receipt = Mapping[str, Any]

MEASURED = ("ndcg@10", "recall@10", "spearman", "knn_accuracy", "logistic_accuracy", "v_measure")
COSTS = ("cost", "cost_low", "cost_high", "p_holm", "detectable_cost")  # of a task, in the receipt of stage drift
DOMAIN = ("dev", "test", "paraphrases")  # query sets that evaluate scores, in the order of the table


def tasks_of(base: Receipt, tuned: Receipt, drift: Receipt) -> list[dict[str, Any]]:
    """Returns a row per probe task and measure.

    Each has task, measure, n, base, tuned, counts_as (general, near_domain, nothing), whether stage drift counts the
    task, and why it cannot measure it, unmeasured ("" where it can); the measure by which it judges a task also has the
    relative loss, cost, its interval, cost_low to cost_high, its corrected p-value, p_holm, and the smallest loss that
    the task detects, detectable_cost.

    Args:
        base: receipt of probe@base.
        tuned: receipt of probe@tuned.
        drift: receipt of stage drift.

    Raises:
        BadInput: base and tuned were probed with different tasks.
    """
    if list(base) != list(tuned):
        raise BadInput("report: base and tuned were probed with different tasks; run `dvc repro`")
    rows = []
    for key, before in base.items():
        task, _, measure = key.partition(".")
        if measure in MEASURED:
            row = {
                "task": task,
                "measure": measure,
                "n": base[f"{task}.n"],
                "base": before,
                "tuned": tuned[key],
                "counts_as": base[f"{task}.counts_as"],
                "is_counted": bool(drift.get(f"{task}.is_counted", False)),
                "unmeasured": str(drift.get(f"{task}.unmeasured", "")),
            }
            is_judged = drift.get(f"{task}.measure") == measure
            rows.append(row | ({name: drift[f"{task}.{name}"] for name in COSTS} if is_judged else {}))
    return rows


def near_domain(tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Returns the rows of nDCG@10 on near-domain tasks, in their order."""
    return [row for row in tasks if row["counts_as"] == "near_domain" and row["measure"] == "ndcg@10"]


def domain_tasks(base: Receipt, tuned: Receipt) -> list[dict[str, Any]]:
    """Returns rows as `tasks_of` does, for nDCG@10 on dev, test and, where the data has them, paraphrases."""
    n = {"test": base["n_queries"], "paraphrases": base.get("n_paraphrases", 0)}
    keys = {"test": "ndcg@10", "dev": "dev_ndcg@10", "paraphrases": "paraphrases_ndcg@10"}
    return [
        {"task": name, "measure": "ndcg@10", "n": n.get(name, ""), "base": base[keys[name]], "tuned": tuned[keys[name]]}
        for name in DOMAIN
        if keys[name] in base
    ]


def dimensions_of(base: Receipt, tuned: Receipt) -> list[dict[str, Any]]:
    """Returns nDCG@10 on test under Matryoshka truncation, largest dimension first."""
    dims = [int(key.split("_")[1]) for key in tuned if key.startswith("dim_") and key.endswith("_ndcg@10")]
    return [
        {"dim": dim, "base": base[f"dim_{dim}_ndcg@10"], "tuned": tuned[f"dim_{dim}_ndcg@10"]}
        for dim in sorted({*dims}, reverse=True)
    ]


def interpolation_points(file: Path) -> list[dict[str, Any]]:
    """Reads merge.csv: a row per candidate, base first, with dev, general, near_domain and its name in words.

    Raises:
        BadInput: the file is missing or is not what merge writes.
    """
    names = {"dev_ndcg@10": "dev", "general_ndcg@10": "general", "near_domain_ndcg@10": "near_domain"}
    rows = read_csv(file, MERGE_CURVE).rename(names).iter_rows(named=True)
    return [row | {"words": candidate_words(candidate_of(row))} for row in rows]


def by_checkpoint(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row per checkpoint and average, with its candidates' nDCG@10 on dev by share, None where missing.

    Each has step, n_averaged, words, dev, and chosen: the share that ships, None where another checkpoint does.

    Args:
        points: from `interpolation_points`.
    """
    candidates = [(candidate_of(point), point) for point in points]
    shares = sorted({candidate.share for candidate, _ in candidates if candidate != BASE})
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for candidate, point in candidates:
        if candidate != BASE:
            empty = {"step": candidate.step, "n_averaged": candidate.n_averaged, "words": checkpoint_words(candidate)}
            empty |= {"dev": dict.fromkeys(shares), "chosen": None}
            row = rows.setdefault((candidate.n_averaged, candidate.step), empty)
            row["dev"][candidate.share] = point["dev"]
            row["chosen"] = candidate.share if point["is_chosen"] else row["chosen"]
    return [rows[key] for key in sorted(rows)]


def rate_probes(file: Path) -> list[dict[str, Any]]:
    """Reads rates.csv: a row per probed rate with n_steps, nDCG@10 on dev by share, and is_chosen.

    Returns:
        An empty list where the rate was given.

    Raises:
        BadInput: the file is missing or is not what train writes.
    """
    rows: dict[float, dict[str, Any]] = {}
    for probe in read_csv(file, RATES).sort("learning_rate", "share").iter_rows(named=True):
        rate = probe["learning_rate"]
        row = rows.setdefault(rate, {"learning_rate": rate, "n_steps": 0, "dev": {}, "is_chosen": False})
        row["dev"][probe["share"]] = probe["dev_ndcg@10"]
        row |= {"n_steps": probe["n_steps"], "is_chosen": row["is_chosen"] or probe["is_chosen"]}
    return list(rows.values())


def base_on_dev(runs: Path, splits: Path | None = None) -> dict[str, float]:
    """Reads base's mean recall@100 and nDCG@10 on dev from its scores per query; every document of the corpus counts.

    Args:
        runs: data/runs.
        splits: data/splits; adds n_answers, the median number of answers of a query.

    Raises:
        BadInput: the scores or the judgments are missing or are not what evaluate and split write.
    """
    scores = read(runs / "base/scores.parquet", scores_columns(MEASURES)).filter(pl.col("split") == "dev")
    figures = {name: float(scores[name].to_numpy().mean()) for name in ("recall@100", "ndcg@10")}
    if splits is None:
        return figures
    answers = read(splits / "dev/qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    counts = answers.join(scores, on="query_id", how="semi")["query_id"].value_counts()["count"].to_numpy()
    return figures | {"n_answers": float(np.median(counts)) if len(counts) else 0.0}


def training_curve(file: Path) -> list[Point]:
    """Reads training.csv: the training curve of the first seed.

    Raises:
        BadInput: the file is missing or is not what train writes.
    """
    curve = read_csv(file, TRAINING_CURVE).filter(pl.col("seed") == pl.col("seed").first())
    return [Point(*row) for row in curve.select("step", "loss", "dev_ndcg@10").iter_rows()]


def negatives(mined: Path, n: int) -> list[dict[str, Any]]:
    """Reads n mined negatives, drawn at random, each with its query and the query's lowest-scoring positive."""
    rows: list[dict[str, Any]] = read(mined / "sample.parquet", NEGATIVE_SAMPLE).head(n).to_dicts()
    return rows
