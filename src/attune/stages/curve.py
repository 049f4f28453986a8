"""Measures how dev and test grow with the labels, and forecasts what twice and four times as many would bring.

The query adapter is trained on frozen embeddings of the base with the labels of some clusters of train alone, so that a
point costs seconds. Several draws of clusters are nested: the clusters of a draw stand in one order, and a share is the
first of them. Documents all stay: hidden labels do not hide what a corpus holds. The same forecast from half of the
labels is compared with what all of them brought, so that every run says whether it can be believed.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
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
Scores = dict[str, Float64]  # (n_queries,) values of each measure


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
    """Scores mapped queries of one split over the whole corpus, on one thread."""

    def __init__(self, split: Split, queries: Float32, passages: Passages, documents: Float32) -> None:
        self._split, self._queries = split, queries
        self._passages, self._documents = passages, documents

    def __call__(self, query_map: QueryMap) -> Scores:
        """Returns the (n_queries,) values of each measure."""
        queries = query_map(self._queries)
        search = document_search(queries, self._documents, self._passages.document_rows, threads=1)
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


def read_input(embeddings: Path, prepared: Path, splits: Path) -> CurveInput:
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
    of_dev, of_test = (Scorer(one, queries[one.name], passages, documents) for one in (dev, test))
    return CurveInput(pairs, train.cluster_ids, of_dev, of_test)


def point(data: CurveInput, adapter: AdapterParams, seed: int, draw: int, share: float, base: Scores) -> Labelled:
    """Trains the adapter on a share of a draw, which may hold no pair, and scores it.

    Args:
        data: labels and scorers.
        adapter: its training.
        seed: of the draws; draw d trains with seed + d, so that all labels, too, are measured as often.
        draw: number of the draw.
        share: of the clusters, whose labels are used.
        base: what the identity scores on dev.
    """
    order = in_order(data.cluster_ids, seed, draw)
    kept = set(order[: max(1, round(share * len(order)))])
    own = labelled(data.pairs, np.array([id_ in kept for id_ in data.cluster_ids], dtype=np.bool_))
    evaluated: list[Scores] = []

    def score(query_map: QueryMap) -> Float64:
        evaluated.append(base if query_map.is_identity else data.dev(query_map))
        return evaluated[-1][STOPPED_BY]

    fitted = fit(own, adapter, seed + draw, score)
    of_best = evaluated[[step for step, _ in fitted.curve].index(fitted.step)]
    scores = {
        f"{split}_{name}": float(values.mean())
        for split, by_measure in (("dev", of_best), ("test", data.test(fitted.query_map)))
        for name, values in by_measure.items()
    }
    return Labelled(draw, share, len(np.unique(own.pairs[:, 0])), len(own.pairs), scores)


def points(params: CurveParams, adapter: AdapterParams, seed: int, data: CurveInput) -> list[Labelled]:
    """Returns the points of all shares of all draws; a share without a pair is left out.

    Trainings run side by side, each on one thread, those with the most labels first: two on one thread each take less
    time than one after the other on two, and no figure depends on the number of threads.

    Args:
        params: shares and draws; threads, which are trainings at a time.
        adapter: its training.
        seed: of the draws, see `point`.
        data: labels and scorers, which search on one thread.
    """
    set_torch_threads(1)
    base = data.dev(QueryMap())
    wanted = [(draw, share) for share in reversed(params.shares) for draw in range(params.draws)]
    with ThreadPoolExecutor(params.machine.threads, initializer=set_torch_threads, initargs=(1,)) as pool:
        found = list(pool.map(lambda one: point(data, adapter, seed, one[0], one[1], base), wanted))
    return sorted((one for one in found if one.n_pairs), key=lambda one: (one.draw, one.share))


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
    measured: list[Labelled] = []
    if params.draws and adapter.steps:
        measured = points(params, adapter, seed, read_input(embeddings, prepared, splits))
    write_csv(table(measured), points_file, LABELS)
    return receipt_of(measured, confidence)


if __name__ == "__main__":
    run(curve)
