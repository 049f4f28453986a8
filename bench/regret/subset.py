"""Few training pairs: a copy of a pipeline's shared outputs whose train split has fewer queries.

Whole queries go, with their judgments, negatives and embeddings; documents stay, so mining and dev search the same
corpus as with all pairs. Queries are taken in the order of a hash of seed and id until they have the wanted number of
pairs (query and relevant document), so the last one may exceed it. A smaller draw of a seed is part of a larger one;
another seed draws others. The encoder's maximum length is that of all pairs.
"""

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl

from attune.retrieval.vectors import load_embeddings
from attune.tables import NEGATIVES, OWN_TEXTS, QRELS, SPLIT_QUERIES, read, write
from bench.regret.data import SHARED

TRAIN = Path("data/splits/train")
VECTORS = Path("data/embeddings/base/train.npy")
TABLES = {"queries": SPLIT_QUERIES, "qrels": QRELS, "negatives": NEGATIVES, "own_texts": OWN_TEXTS}
# stage mine depends on it, without reading it
AUDIT = Path("metrics/audit.json")


def pairs_by_query(train: Path) -> dict[str, int]:
    """Returns the number of relevant documents of each train query, in the order of their ids."""
    relevant = read(train / "qrels.parquet", QRELS).filter(pl.col("relevance") > 0)
    return dict(relevant.group_by("query_id").len().sort("query_id").iter_rows())


def drawn(pairs_of: dict[str, int], n_pairs: int, seed: int) -> set[str]:
    """Returns the ids of the queries that stay; all of them where n_pairs is 0."""
    if not n_pairs:
        return set(pairs_of)
    order = sorted(pairs_of, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())
    before = np.cumsum([0, *(pairs_of[id_] for id_ in order)])[:-1]
    return {id_ for id_, n in zip(order, before, strict=True) if n < n_pairs}


def link(shared: Path, folder: Path, stay: set[str]) -> None:
    """Puts the shared outputs into a pipeline's folder, its train split with these queries only.

    Files are hard links, which cost nothing; stages replace files and never write into them.

    Args:
        shared: folder that holds SHARED and AUDIT.
        folder: of the pipeline.
        stay: ids of train queries.
    """
    written = {str(TRAIN / f"{name}.parquet") for name in TABLES} | {str(VECTORS)}

    def hard_link(source: str, target: str) -> None:
        if str(Path(source).relative_to(shared)) in written:
            return
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)

    for path in SHARED:
        shutil.rmtree(folder / path, ignore_errors=True)
        shutil.copytree(shared / path, folder / path, copy_function=hard_link)
    (folder / AUDIT).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(shared / AUDIT, folder / AUDIT)
    queries = read(shared / TRAIN / "queries.parquet", SPLIT_QUERIES)
    is_kept = queries["query_id"].is_in(list(stay))
    for name, columns in TABLES.items():
        table = read(shared / TRAIN / f"{name}.parquet", columns)
        write(table.filter(pl.col("query_id").is_in(list(stay))), folder / TRAIN / f"{name}.parquet", columns)
    vectors = load_embeddings(shared / VECTORS, queries.height, "the train queries")
    np.save(folder / VECTORS, vectors[is_kept.to_numpy()])
