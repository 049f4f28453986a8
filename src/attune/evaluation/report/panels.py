"""What the report's page shows of tuning's side effects: other tasks, the way from base to tuned, mined negatives."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.errors import BadInput
from attune.tables import NEGATIVE_SAMPLE, read
from attune.tuning.curve import Point

Receipt = Mapping[str, Any]

MEASURED = ("ndcg@10", "recall@10", "spearman", "knn_accuracy", "logistic_accuracy", "v_measure")
DOMAIN = ("dev", "test", "paraphrases")  # what evaluate scores, in the order of the table


def tasks_of(base: Receipt, tuned: Receipt) -> list[dict[str, Any]]:
    """A row per task of the probe and measure: task, measure, n, base, tuned, and whether drift counts it.

    Raises:
        BadInput: base and tuned were probed with different tasks.
    """
    if list(base) != list(tuned):
        raise BadInput("report: base and tuned were probed with different tasks; run `dvc repro`")
    rows = []
    for key, before in base.items():
        task, _, measure = key.partition(".")
        if measure in MEASURED:
            rows.append(
                {
                    "task": task,
                    "measure": measure,
                    "n": base[f"{task}.n"],
                    "base": before,
                    "tuned": tuned[key],
                    "is_counted": base[f"{task}.is_counted"],
                }
            )
    return rows


def domain_tasks(base: Receipt, tuned: Receipt) -> list[dict[str, Any]]:
    """The same of the domain's own queries: nDCG@10 on test, on dev, and on paraphrases where the data has them."""
    n = {"test": base["n_queries"], "paraphrases": base.get("n_paraphrases", 0)}
    keys = {"test": "ndcg@10", "dev": "dev_ndcg@10", "paraphrases": "paraphrases_ndcg@10"}
    return [
        {"task": name, "measure": "ndcg@10", "n": n.get(name, ""), "base": base[keys[name]], "tuned": tuned[keys[name]]}
        for name in DOMAIN
        if keys[name] in base
    ]


def dimensions_of(base: Receipt, tuned: Receipt) -> list[dict[str, Any]]:
    """What is left of nDCG@10 on test where embeddings are cut to fewer dimensions, longest first."""
    dims = [int(key.split("_")[1]) for key in tuned if key.startswith("dim_") and key.endswith("_ndcg@10")]
    return [
        {"dim": dim, "base": base[f"dim_{dim}_ndcg@10"], "tuned": tuned[f"dim_{dim}_ndcg@10"]}
        for dim in sorted({*dims}, reverse=True)
    ]


def trade_off(curve: Path) -> list[dict[str, Any]]:
    """The points between base and tuned that merge has scored.

    Raises:
        BadInput: the file is missing or is not what merge writes.
    """
    try:
        with curve.open(encoding="utf-8", newline="") as file:
            return [
                {
                    "share": float(row["share"]),
                    "dev": float(row["dev_ndcg@10"]),
                    "general": float(row["general_ndcg@10"]),
                    "is_chosen": row["is_chosen"] == "true",
                }
                for row in csv.DictReader(file)
            ]
    except FileNotFoundError:
        raise BadInput(f"{curve}: not found; run `dvc repro` to make it") from None
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{curve}: not what merge writes; delete it and run `dvc repro`") from None


def curve_of(file: Path) -> list[Point]:
    """The training curve of the first seed.

    Raises:
        BadInput: the file is missing or is not what train writes.
    """
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        first = [row for row in rows if row["seed"] == rows[0]["seed"]]
        return [Point(int(row["step"]), _or_none(row["loss"]), _or_none(row["dev_ndcg@10"])) for row in first]
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run `dvc repro` to make it") from None
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{file}: not what train writes; delete it and run `dvc repro`") from None


def _or_none(cell: str) -> float | None:
    return float(cell) if cell else None


def negatives(mined: Path) -> list[dict[str, Any]]:
    """Mined negatives for the human eye, each beside the query and its lowest right answer."""
    rows: list[dict[str, Any]] = read(mined / "sample.parquet", NEGATIVE_SAMPLE).to_dicts()
    return rows
