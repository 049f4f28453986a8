"""Measures embedding drift: movement of the space, cost on general tasks, and whether old vectors still serve.

Measured on the domain's texts (a sample of the corpus, the dev queries) and on general texts (the probe's), from
embeddings that earlier stages made: no encoder runs here. No test query or judgment is read; the sample of the corpus
holds documents of every split.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from attune.errors import BadInput
from attune.evaluation import drift as space
from attune.evaluation.drift import DriftParams, drift_verdict, general_cost, is_drifted, is_reindex_needed
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import measure
from attune.evaluation.scoring.receipts import read_receipts
from attune.retrieval.exact import top_k
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32, Int64
from attune.stage import Receipt, run
from attune.tables import CORPUS, read

SYSTEMS = ("base", "tuned")
SAMPLE_SEED = 13  # of the sample of documents


def load_pair(folder: Path, file: str, n_rows: int, table: str) -> tuple[Float32, Float32]:
    """Loads the embeddings of the same texts by base and tuned.

    Args:
        folder: holds a folder of each.
        file: within these.
        n_rows: number of texts.
        table: name of the texts, for errors.

    Raises:
        BadInput: a file is missing or damaged, or the shapes differ.
    """
    paths = [folder / system / file for system in SYSTEMS]
    base, tuned = (load_embeddings(path, n_rows, table) for path in paths)
    if base.shape != tuned.shape:
        raise BadInput(f"{paths[1]}: shape {tuned.shape}, expected that of {paths[0]}, {base.shape}; run `dvc repro`")
    return base, tuned


def space_figures(texts: str, before: Float32, after: Float32) -> dict[str, float]:
    """Measures two spaces of the same texts.

    Args:
        texts: name of the texts, the prefix of every key.
        before: (n texts, dim) by base.
        after: (n texts, dim) by tuned.
    """
    figures = {
        "cka": space.linear_cka(before, after),
        "neighbour_overlap@10": space.neighbour_overlap(before, after),
        "stale_overlap@10": space.stale_overlap(before, after),
        "same_cosine": space.same_cosine(before, after),
        "aligned_cosine": space.aligned_cosine(before, after),
        "base_anisotropy": space.anisotropy(before),
        "tuned_anisotropy": space.anisotropy(after),
        "base_uniformity": space.uniformity(before),
        "tuned_uniformity": space.uniformity(after),
    }
    return {f"{texts}.{name}": value for name, value in figures.items()}


def domain_figures(
    params: DriftParams, documents: tuple[Float32, Float32], queries: tuple[Float32, Float32], judgments: Int64
) -> dict[str, float]:
    """Measures the domain's space, and dev nDCG@10 of tuned queries over the tuned and over the base's documents.

    Args:
        params: of the stage.
        documents: (n_documents, dim) by base and by tuned.
        queries: (n_queries, dim) of dev, by base and by tuned.
        judgments: (n_judgments, 3) query row, document row, relevance.
    """
    random = np.random.default_rng(SAMPLE_SEED)
    n_documents = len(documents[0])
    rows = np.sort(random.choice(n_documents, size=min(params.n_sample, n_documents), replace=False))
    figures = space_figures("domain", documents[0][rows], documents[1][rows])
    positives = judgments[judgments[:, 2] > 0]
    for system, of_queries, of_documents in zip(SYSTEMS, queries, documents, strict=True):
        figures[f"domain.{system}_alignment"] = space.alignment(
            of_queries[positives[:, 0]], of_documents[positives[:, 1]]
        )
    for name, index in (("stale_dev_ndcg@10", documents[0]), ("dev_ndcg@10", documents[1])):
        _, ranked = top_k(queries[1], index, 10, params.machine.threads)
        figures[name] = float(measure(ranked, judgments)["ndcg@10"].mean())
    return figures


def general_figures(probed: Path, receipt: Mapping[str, Any]) -> dict[str, float]:
    """Measures the space of the probe's general texts; alignment only where general retrieval is among the tasks."""
    spaces = load_pair(probed, "general.npy", receipt["n_general_texts"], "the general texts")
    figures = space_figures("general", *spaces)
    pairs = load_embeddings(probed / "base" / "positives.npy", receipt["n_general_pairs"], "the general pairs")
    if len(pairs):
        for system, vectors in zip(SYSTEMS, spaces, strict=True):
            figures[f"general.{system}_alignment"] = space.alignment(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    return figures


def drift(
    params: DriftParams, prepared: Path, dev_split: Path, embeddings: Path, probed: Path, metrics: Path
) -> Receipt:
    """Compares the spaces of base and tuned; the receipt is the only output."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    dev = load_split(dev_split, corpus)
    documents = load_pair(embeddings, "corpus.npy", corpus.height, "the corpus")
    queries = load_pair(embeddings, "dev.npy", len(dev.texts), "the dev queries")
    receipts = read_receipts(metrics, SYSTEMS, ())
    figures = domain_figures(params, documents, queries, dev.judgments) | general_figures(probed, receipts["base"])
    cost = general_cost(receipts["base"], receipts["tuned"])
    return figures | {
        "largest_cost": cost.largest,
        "largest_cost_of": cost.measure,
        "is_drifted": is_drifted(figures, cost, params),
        "is_reindex_needed": is_reindex_needed(figures, params),
        "verdict": drift_verdict(figures, cost, params),
    }


if __name__ == "__main__":
    run(drift)
