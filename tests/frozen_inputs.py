"""Inputs of what trains on frozen embeddings: by the tiny encoder, or planted ones that a map improves."""

import shutil
from pathlib import Path

import numpy as np
import polars as pl
from prepared_tables import filled, write_corpus, write_split

from attune.encoding.encoders import load_torch
from attune.runtime.arrays import Float32, Float64
from attune.tables import CORPUS, DOCUMENT_IDS, write

WORDS = "array matrix graph tree river mountain window paper season market engine bridge garden signal".split()
N = 40  # documents, and queries; the first 30 are train's


def write_frozen(root: Path, encoder: Path) -> dict[str, Path]:
    """Writes 40 documents of three words, and of each a query that has two of them; returns the stages' paths."""
    random = np.random.default_rng(0)
    words = [random.choice(WORDS, 3, replace=False).tolist() for _ in range(N)]
    ids, texts = [f"d{i:02}" for i in range(N)], [" ".join(own) for own in words]
    write_corpus(filled({"document_id": ids, "text": texts}, CORPUS), root / "prepared")
    model = load_torch(encoder)
    (root / "embeddings").mkdir()
    np.save(root / "embeddings/corpus.npy", model.encode(texts))
    for name, rows in (("train", range(30)), ("dev", range(30, N))):
        query_ids, queries = [f"q{i:02}" for i in rows], [" ".join(words[i][1:]) for i in rows]
        columns = {"query_id": query_ids, "text": queries, "cluster_id": query_ids}
        judged = [(f"q{i:02}", ids[i], 1) for i in rows]
        write_split(root / name, columns, judged, [ids[i] for i in rows])
        np.save(root / f"embeddings/{name}.npy", model.encode(queries))
    paths = {name: root / name for name in ("embeddings", "prepared", "train")}
    return paths | {"dev_split": root / "dev"}


def without_answers(train: Path, out: Path) -> Path:
    """Writes train again with one document, which answers none of its queries; returns its folder."""
    shutil.copytree(train, out)
    write(pl.DataFrame({"document_id": ["d39"]}), out / "documents.parquet", DOCUMENT_IDS)
    return out


N_TURNED, DIM = 160, 12
SPLITS = {"train": range(80), "dev": range(80, 120), "test": range(120, N_TURNED)}


def _unit(vectors: Float64) -> Float32:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def write_turned(embeddings: Path, prepared: Path, splits: Path) -> None:
    """Writes 160 documents, and of each a query in a turned basis, which labels teach an adapter to turn back.

    Train has 80 queries, dev and test 40 each; two are a cluster.
    """
    random = np.random.default_rng(0)
    documents = _unit(random.normal(size=(N_TURNED, DIM)))
    turn = np.linalg.qr(random.normal(size=(DIM, DIM)))[0]
    queries = _unit(documents @ turn + 0.7 * documents + 0.15 * random.normal(size=(N_TURNED, DIM)))
    ids = [f"d{i:03}" for i in range(N_TURNED)]
    write_corpus(filled({"document_id": ids, "text": ids}, CORPUS), prepared)
    embeddings.mkdir(parents=True)
    np.save(embeddings / "corpus.npy", documents)
    for name, rows in SPLITS.items():
        columns = {"query_id": [f"q{i:03}" for i in rows], "text": ["x"] * len(rows)}
        columns["cluster_id"] = [f"c{i // 2:03}" for i in rows]
        judged = [(f"q{i:03}", ids[i], 1) for i in rows]
        write_split(splits / name, columns, judged, [ids[i] for i in rows])
        np.save(embeddings / f"{name}.npy", queries[list(rows)])
