"""How far tuning moved the space, what that cost elsewhere, and whether old vectors still serve.

Measured on texts of the domain (a sample of the corpus, the dev queries) and on general ones (the probe's), from
embeddings that were made before: no encoder runs here. No query or judgment of test is looked at (the sample of the
corpus has documents of every split).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attune.errors import BadInput
from attune.evaluation import drift as space
from attune.evaluation.drift import Thresholds, cost, is_drifted, is_reindex_needed, verdict
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import measure
from attune.evaluation.scoring.receipts import read_receipts
from attune.retrieval.exact import top_k
from attune.retrieval.vectors import load_embeddings
from attune.stage import Machine, Params, Receipt, run
from attune.tables import CORPUS, read

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
SYSTEMS = ("base", "tuned")


class DriftParams(Params):
    """What is called drift, when old vectors have to go, and how much is compared."""

    max_cost: float = Field(ge=0, le=1)
    min_neighbour_overlap: float = Field(ge=0, le=1)
    min_same_cosine: float = Field(ge=-1, le=1)
    min_stale_overlap: float = Field(ge=0, le=1)
    n_sample: int = Field(ge=2, le=20_000)
    seed: int = Field(ge=0, lt=2**32)
    machine: Machine


def load_pair(folder: Path, file: str, n_rows: int, table: str) -> tuple[Vectors, Vectors]:
    """The embeddings of the same texts by base and tuned.

    Args:
        folder: holds a folder of each.
        file: within these.
        n_rows: how many texts there are.
        table: what the texts are, for errors.

    Raises:
        BadInput: a file is missing or damaged, or the shapes differ.
    """
    paths = [folder / system / file for system in SYSTEMS]
    base, tuned = (load_embeddings(path, n_rows, table) for path in paths)
    if base.shape != tuned.shape:
        raise BadInput(f"{paths[1]}: shape {tuned.shape}, expected that of {paths[0]}, {base.shape}; run `dvc repro`")
    return base, tuned


def compare(texts: str, before: Vectors, after: Vectors) -> dict[str, float]:
    """How far some texts, (n, dim) by base and by tuned, moved; keys begin with what texts they are."""
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


def domain(
    params: DriftParams, documents: tuple[Vectors, Vectors], queries: tuple[Vectors, Vectors], judgments: Rows
) -> dict[str, float]:
    """The domain's figures; and dev nDCG@10 of tuned queries over the tuned vectors, and over those of the base."""
    random = np.random.default_rng(params.seed)
    n_documents = len(documents[0])
    rows = np.sort(random.choice(n_documents, size=min(params.n_sample, n_documents), replace=False))
    figures = compare("domain", documents[0][rows], documents[1][rows])
    positives = judgments[judgments[:, 2] > 0]
    for system, asked, found in zip(SYSTEMS, queries, documents, strict=True):
        figures[f"domain.{system}_alignment"] = space.alignment(asked[positives[:, 0]], found[positives[:, 1]])
    for name, index in (("stale_dev_ndcg@10", documents[0]), ("dev_ndcg@10", documents[1])):
        _, ranked = top_k(queries[1], index, 10, params.machine.threads)
        figures[name] = float(measure(ranked, judgments)["ndcg@10"].mean())
    return figures


def general(probed: Path, receipt: Mapping[str, Any]) -> dict[str, float]:
    """The figures of the probe's general texts; alignment only where general retrieval is among the tasks."""
    spaces = load_pair(probed, "general.npy", receipt["n_general_texts"], "the general texts")
    figures = compare("general", *spaces)
    pairs = load_embeddings(probed / "base" / "positives.npy", receipt["n_general_pairs"], "the general pairs")
    if len(pairs):
        for system, vectors in zip(SYSTEMS, spaces, strict=True):
            figures[f"general.{system}_alignment"] = space.alignment(vectors[pairs[:, 0]], vectors[pairs[:, 1]])
    return figures


def drift(
    params: DriftParams, prepared: Path, dev_split: Path, embeddings: Path, probed: Path, metrics: Path
) -> Receipt:
    """Compares base and tuned; the receipt is all there is."""
    corpus = read(prepared / "corpus.parquet", CORPUS)
    dev = load_split(dev_split, corpus)
    documents = load_pair(embeddings, "corpus.npy", corpus.height, "the corpus")
    queries = load_pair(embeddings, "dev.npy", len(dev.texts), "the dev queries")
    receipts = read_receipts(metrics, SYSTEMS, ())
    figures = domain(params, documents, queries, dev.judgments) | general(probed, receipts["base"])
    lost = cost(receipts["base"], receipts["tuned"])
    limits = Thresholds(**params.model_dump(include=set(Thresholds.__dataclass_fields__)))
    return figures | {
        "largest_cost": lost.largest,
        "largest_cost_of": lost.measure,
        "is_drifted": is_drifted(figures, lost, limits),
        "is_reindex_needed": is_reindex_needed(figures, limits),
        "verdict": verdict(figures, lost, limits),
    }


if __name__ == "__main__":
    run(drift)
