"""Scores test with vectors that take less room: fewer bits a number, or fewer dimensions.

An index that is read whole costs memory by the byte, and the time of a query with it. Base and tuned are scored in each
storage through the indexes that `runtime.Search` builds, and at each dimension of evaluate.truncate_dims. The share of
nDCG@10 that is kept has an interval, as that of the int8 graph has.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from attune.evaluation.scoring.dimensions import truncated
from attune.evaluation.scoring.judgments import Split, load_split
from attune.evaluation.scoring.measures import measure
from attune.evaluation.statistics.clusters import numbered
from attune.evaluation.statistics.shares import score_share_interval
from attune.retrieval.grouped import document_search
from attune.retrieval.passages import read_passages
from attune.retrieval.stored import stored_index, stored_search
from attune.retrieval.ties import Search
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32, Float64, Int64
from attune.runtime.storage import bytes_per_vector
from attune.stage import PARAMS_FILE, Machine, Params, Receipt, all_params, run
from attune.tables import CORPUS, read

SYSTEMS = ("base", "tuned")
MEASURED = ("recall@10", "ndcg@10")
DEPTH, FLOAT32 = 10, "float32"
FLOAT_BYTES = 4


class StorageParams(Params):
    """Storages that are scored beside float32; none turns the stage off."""

    storages: list[Literal["float16", "int8", "binary", "binary_rescored"]] = Field(max_length=4)
    machine: Machine


def searches(
    params: StorageParams, queries: Float32, documents: Float32, document_rows: Int64, dims: list[int]
) -> dict[str, tuple[int, Search]]:
    """Returns bytes per vector and search by storage, float32 first; `dim_N` is truncation to N dimensions."""
    threads = params.machine.threads
    found = {FLOAT32: (FLOAT_BYTES * documents.shape[1], document_search(queries, documents, document_rows, threads))}
    for storage in params.storages:
        index = stored_index(documents, storage, threads)
        found[storage] = bytes_per_vector(index), stored_search(queries, index, document_rows, threads)
    for dim in dims:
        sides = truncated(queries, dim), truncated(documents, dim)
        found[f"dim_{dim}"] = FLOAT_BYTES * dim, document_search(*sides, document_rows, threads)
    return found


def scored(test: Split, search: Search) -> dict[str, Float64]:
    """Returns the (n_queries,) values of each measure."""
    scores, rows = test.ranked(search, DEPTH)
    values = measure(rows, test.judgments, scores)
    return {name: values[name] for name in MEASURED}


def figures_of(test: Split, searched: dict[str, tuple[int, Search]], confidence: float) -> Receipt:
    """Returns bytes, scores on test and the kept share of nDCG@10 with its interval, by storage."""
    clusters = numbered(test.cluster_ids.to_list())
    figures: dict[str, float | str | bool] = {}
    full = scored(test, searched[FLOAT32][1])["ndcg@10"]
    for storage, (n_bytes, search) in searched.items():
        values = scored(test, search)
        kept = values["ndcg@10"]
        low, high = score_share_interval(kept, full, clusters, confidence)
        share = float(kept.mean() / full.mean()) if full.any() else 1.0
        own = {"bytes": n_bytes, **{name: float(values[name].mean()) for name in MEASURED}}
        own |= {"kept_share": share, "kept_low": low, "kept_high": high}
        figures |= {f"{storage}.{key}": value for key, value in own.items()}
    return figures


def storage(params: StorageParams, *, embeddings: Path, prepared: Path, splits: Path, confidence: float) -> Receipt:
    """Scores base and tuned on test in each storage."""
    dims = all_params(PARAMS_FILE)["evaluate"]["truncate_dims"]
    corpus = read(prepared / "corpus.parquet", CORPUS)
    passages, test = read_passages(prepared, corpus), load_split(splits / "test", corpus)
    receipt: dict[str, float | str | bool] = {}
    for system in SYSTEMS:
        documents = load_embeddings(embeddings / system / "corpus.npy", len(passages), "the corpus")
        queries = load_embeddings(embeddings / system / "test.npy", test.n_in_file, "the test queries")
        searched = searches(params, np.asarray(queries), documents, passages.document_rows, dims)
        receipt |= {f"{system}.{key}": value for key, value in figures_of(test, searched, confidence).items()}
    return receipt


if __name__ == "__main__":
    run(storage)
