"""Measures how dev and test grow with the labels, and forecasts what twice and four times as many would bring.

The query adapter is trained on frozen embeddings of the base with the labels of some clusters of train alone, so that a
point costs seconds. Several draws of clusters are nested: the clusters of a draw stand in one order, and a share is the
first of them. Documents all stay: hidden labels do not hide what a corpus holds. The same forecast from half of the
labels is compared with what all of them brought, so that every run says whether it can be believed.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NamedTuple, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from attune.encoding.torch_threads import set_torch_threads
from attune.evaluation.frozen import train_pairs
from attune.evaluation.label_points import LABELS, MEASURED, Labelled, receipt_of, table
from attune.evaluation.scoring.judgments import Split, load_split
from attune.evaluation.scoring.measures import measure
from attune.export.query_map import QueryMap
from attune.plots import write_csv
from attune.retrieval.grouped import document_search
from attune.retrieval.passages import Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32, Float64
from attune.stage import Machine, Out, Params, Receipt, load_params, run
from attune.tables import CORPUS, DOCUMENT_IDS, read
from attune.tuning.adapter.fit import AdapterParams, Pairs, fit

STOPPED_BY, DEPTH = "ndcg@10", 10


class CurveParams(Params):
    """Shares of the clusters whose labels are used, and draws of them; 0 draws turn the stage off."""

    shares: list[Annotated[float, Field(gt=0, le=1)]] = Field(min_length=1, max_length=20)
    draws: int = Field(ge=0, le=20)
    machine: Machine

    @model_validator(mode="after")
    def _rises_to_all(self) -> Self:
        if sorted(set(self.shares)) != self.shares or self.shares[-1] != 1:
            raise ValueError(f"shares are {self.shares}, expected rising numbers, the last of them 1")
        return self


def in_order(cluster_ids: pl.Series, seed: int, draw: int) -> list[str]:
    """Returns the clusters in the order of a draw: by a hash of seed, draw and id."""
    return sorted(set(cluster_ids), key=lambda id_: hashlib.sha256(f"{seed}:{draw}:{id_}".encode()).digest())


def labelled(pairs: Pairs, is_kept: NDArray[np.bool_]) -> Pairs:
    """Returns the pairs of the queries that keep their labels, (n_queries,) flags; all documents stay."""
    return replace(pairs, pairs=pairs.pairs[is_kept[pairs.pairs[:, 0]]])


class Scorer:
    """Scores mapped queries of one split over the whole corpus."""

    def __init__(self, split: Split, queries: Float32, passages: Passages, documents: Float32, threads: int) -> None:
        self._split, self._queries, self._threads = split, queries, threads
        self._passages, self._documents = passages, documents

    def __call__(self, query_map: QueryMap) -> dict[str, Float64]:
        """Returns the (n_queries,) values of each measure."""
        queries = query_map(self._queries)
        search = document_search(queries, self._documents, self._passages.document_rows, self._threads)
        scores, rows = self._split.ranked(search, DEPTH)
        values = measure(rows, self._split.judgments, scores)
        return {name: values[name] for name in MEASURED}


class CurveInput(NamedTuple):
    """All labels of train, and what scores an adapter.

    Attributes:
        pairs: of train.
        cluster_ids: of train's queries, by their rows in `pairs`.
        dev: stops training early.
        test: scores what dev has chosen.
    """

    pairs: Pairs
    cluster_ids: pl.Series
    dev: Scorer
    test: Scorer


def read_input(embeddings: Path, prepared: Path, splits: Path, threads: int) -> CurveInput:
    """Reads train, dev and test with the base's embeddings of their queries and of the corpus."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    passages = read_passages(prepared, corpus)
    documents = load_embeddings(embeddings / "corpus.npy", len(passages), "the corpus")
    train, dev, test = (load_split(splits / name, corpus) for name in ("train", "dev", "test"))
    queries = {
        one.name: load_embeddings(embeddings / f"{one.name}.npy", one.n_in_file, f"the {one.name} queries")
        for one in (train, dev, test)
    }
    usable = read(splits / "train/documents.parquet", DOCUMENT_IDS)["document_id"]
    pairs = train_pairs(train, usable, queries["train"], passages, documents)
    of_dev, of_test = (Scorer(one, queries[one.name], passages, documents, threads) for one in (dev, test))
    return CurveInput(pairs, train.cluster_ids, of_dev, of_test)


def points(params: CurveParams, adapter: AdapterParams, seed: int, data: CurveInput) -> Iterator[Labelled]:
    """Trains the adapter on each share of each draw and scores it; a share without a pair is left out.

    Args:
        params: shares and draws.
        adapter: its training.
        seed: of the draws; draw d trains with seed + d, so that all labels, too, are measured as often.
        data: labels and scorers.
    """
    for draw in range(params.draws):
        order = in_order(data.cluster_ids, seed, draw)
        for share in params.shares:
            kept = set(order[: max(1, round(share * len(order)))])
            own = labelled(data.pairs, np.array([id_ in kept for id_ in data.cluster_ids], dtype=np.bool_))
            if not len(own.pairs):
                continue
            fitted = fit(own, adapter, seed + draw, lambda query_map: data.dev(query_map)[STOPPED_BY])
            scores = {
                f"{split}_{name}": float(values.mean())
                for split, scorer in (("dev", data.dev), ("test", data.test))
                for name, values in scorer(fitted.query_map).items()
            }
            yield Labelled(draw, share, len(np.unique(own.pairs[:, 0])), len(own.pairs), scores)


def curve(
    params: CurveParams,
    *,
    embeddings: Path,
    prepared: Path,
    splits: Path,
    seed: int,
    confidence: float,
    points_file: Out,
) -> Receipt:
    """Writes the points of the curve; the receipt holds the forecasts and their check."""
    adapter = load_params(AdapterParams, "adapter")
    set_torch_threads(params.machine.threads)
    measured: list[Labelled] = []
    if params.draws and adapter.steps:
        data = read_input(embeddings, prepared, splits, params.machine.threads)
        measured = list(points(params, adapter, seed, data))
    write_csv(table(measured), points_file, LABELS)
    return receipt_of(measured, confidence)


if __name__ == "__main__":
    run(curve)
