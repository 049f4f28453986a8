"""Small data to split, parameters of stage split, and the stage run on them."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from attune.data.splitting.assignment import SplitParams
from attune.stage import call
from attune.stages.split import split
from attune.tables import CLUSTERED_QUERIES, CORPUS, NEGATIVES, PARAPHRASES, QRELS, write


def split_params(**changes: Any) -> SplitParams:
    """Returns parameters by cluster, of a fifth for dev and three tenths for test, with these changes."""
    values: dict[str, Any] = {
        "by": "cluster",
        "seed": 13,
        "dev_share": 0.2,
        "test_share": 0.3,
        "strata": "by_hash",
        "max_cluster_share": 0.3,
        "leave_out_own_text": False,
        "max_leak_share": 0.0,
        "judgments": "judgments.csv",
    }
    return SplitParams.model_validate(values | changes)


PARAMS = split_params(max_cluster_share=0.5)
NEAR = {"query_shingle": 1, "document_shingle": 2, "similar_query": 0.8, "similar_document": 0.7}
GIVEN = ["test"] * 10 + ["train"] * 20 + ["dev"] * 10


def queries(
    cluster_ids: list[str], given_splits: list[str] | None = None, strata: list[str] | None = None
) -> pl.DataFrame:
    """Returns prepared queries q0, q1, ... of these clusters, without near-duplicates."""
    n = len(cluster_ids)
    return pl.DataFrame(
        {
            "query_id": [f"q{i}" for i in range(n)],
            "text": [f"question number{i} of mine{i}" for i in range(n)],
            "cluster_id": cluster_ids,
            "query_cluster_id": [f"q{i}" for i in range(n)],
            "near_group": [f"q{i}" for i in range(n)],
            "given_split": given_splits or [""] * n,
            "stratum": strata or [""] * n,
        },
        schema=CLUSTERED_QUERIES,
    )


def prepared(
    folder: Path,
    table: pl.DataFrame,
    unlabelled: tuple[str, ...] = (),
    judged: tuple[tuple[str, str], ...] = (),
    refused: tuple[tuple[str, str], ...] = (),
    paraphrases: tuple[tuple[str, str, list[str]], ...] = (),
) -> Path:
    """Writes data/prepared: for each query a relevant document d0, d1, ... in its cluster.

    Args:
        folder: where to write.
        table: the queries.
        unlabelled: clusters of further documents, which no query is judged on.
        judged: further judgments (query, document).
        refused: the user's own negatives (query, document).
        paraphrases: (id, text, documents).
    """
    n = table.height
    ids = [f"d{i}" for i in range(n + len(unlabelled))]
    texts = [f"answer{i} is known{i} to all{i}" for i in range(len(ids))]
    columns = {
        "document_id": ids,
        "title": [""] * len(ids),
        "text": texts,
        "duplicate_of": ids,
        "cluster_id": [*table["cluster_id"], *unlabelled],
    }
    write(pl.DataFrame(columns, schema=CORPUS), folder / "corpus.parquet", CORPUS)
    write(table, folder / "queries.parquet", CLUSTERED_QUERIES)
    pairs = [*zip(table["query_id"], ids[:n], strict=True), *judged]
    write(pl.DataFrame([(*pair, 1) for pair in pairs], QRELS, orient="row"), folder / "qrels.parquet", QRELS)
    write(pl.DataFrame(refused, NEGATIVES, orient="row"), folder / "negatives.parquet", NEGATIVES)
    write(pl.DataFrame(paraphrases, PARAPHRASES, orient="row"), folder / "paraphrases.parquet", PARAPHRASES)
    return folder


def run_split(folder: Path, source: Path, **changes: float) -> dict[str, int]:
    """Runs the stage on data/prepared in `source`, leaves folder/splits, and returns the receipt."""
    params = PARAMS.model_copy(update=changes)
    call(
        split,
        params,
        folder / "split.json",
        prepared=source,
        **NEAR,
        out=folder / "splits",
        assignments=folder / "assignments.csv",
    )
    receipt: dict[str, int] = json.loads((folder / "split.json").read_text())
    return receipt


def counted_leaks(folder: Path, source: Path) -> dict[str, int]:
    """Runs the stage, allowed to leak; returns the counts of leaks above zero."""
    receipt = run_split(folder, source, max_leak_share=0.5)
    return {key: value for key, value in receipt.items() if "leaks" in key and value}
