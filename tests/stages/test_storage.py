"""Stage storage: float32 scores as stage evaluate does, smaller vectors through the indexes that ship."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prepared_tables import filled, write_corpus, write_split
from shipped_params import PANEL

from attune.evaluation.scoring.measures import measure
from attune.retrieval.exact import top_k
from attune.retrieval.passages import PASSAGES
from attune.runtime.arrays import Float32, Int64
from attune.runtime.search import Search
from attune.stage import Machine, call
from attune.stages.storage import StorageParams, storage
from attune.tables import CORPUS, write

ROOT = Path(__file__).resolve().parents[2]
MACHINE = Machine(threads=1, precision="fp32", batch_tokens=4096)
ALL = StorageParams(storages=["float16", "int8", "binary", "binary_rescored"], machine=MACHINE)
N_DOCUMENTS, N_QUERIES, DIM = 200, 40, 16


def unit(n: int, seed: int) -> Float32:
    vectors = np.random.default_rng(seed).normal(size=(n, DIM))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def near(documents: Float32, seed: int) -> Float32:
    """Queries beside the first documents, so near that most find theirs."""
    vectors = documents[:N_QUERIES] + 0.5 * unit(N_QUERIES, seed)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """200 documents, 40 test queries with one answer each; base and tuned are vectors of 16 numbers."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "advanced.yaml"):
        (tmp_path / name).write_text(PANEL.with_name(name).read_text())
    ids = [f"d{i:03}" for i in range(N_DOCUMENTS)]
    write_corpus(filled({"document_id": ids, "text": ids}, CORPUS), tmp_path / "prepared")
    queries = {"query_id": [f"q{i:02}" for i in range(N_QUERIES)], "text": ["x"] * N_QUERIES}
    queries["cluster_id"] = queries["query_id"]
    write_split(tmp_path / "splits/test", queries, [(f"q{i:02}", ids[i], 1) for i in range(N_QUERIES)])
    for seed, system in enumerate(("base", "tuned")):
        folder = tmp_path / "embeddings" / system
        folder.mkdir(parents=True)
        documents = unit(N_DOCUMENTS, seed)
        np.save(folder / "corpus.npy", documents)
        np.save(folder / "test.npy", near(documents, 10 + seed))
    return tmp_path


def made(project: Path, params: StorageParams = ALL) -> dict[str, Any]:
    """Runs the stage; returns its receipt."""
    paths = {name: project / name for name in ("embeddings", "prepared", "splits")}
    call(storage, params, project / "storage.json", **paths, confidence=0.95)
    return dict(json.loads((project / "storage.json").read_text()))


def ndcg_of(rows: Int64) -> float:
    judgments = np.array([(i, i, 1) for i in range(N_QUERIES)])
    return float(measure(rows, judgments)["ndcg@10"].mean())


def test_every_storage_is_scored_as_it_would_be_served(project: Path) -> None:
    """float32 as exact search ranks; the others as `Search` of that storage; bytes and shares by hand."""
    receipt = made(project)
    for system in ("base", "tuned"):
        documents, queries = (np.load(project / "embeddings" / system / f"{name}.npy") for name in ("corpus", "test"))
        assert receipt[f"{system}.float32.ndcg@10"] == pytest.approx(
            ndcg_of(top_k(queries, documents, 10, 1)[1]), abs=1e-6
        )
        assert receipt[f"{system}.float32.kept_share"] == 1
        for name, n_bytes in (("float16", 32), ("int8", 16), ("binary", 10), ("binary_rescored", 26)):
            index = Search.build(documents, [str(row) for row in range(N_DOCUMENTS)], storage=name)
            rows = np.array([[int(id_) for id_, _ in hits] for hits in index.top(queries, 10)])
            own = receipt[f"{system}.{name}.ndcg@10"]
            assert own == pytest.approx(ndcg_of(rows), abs=0.01)  # evaluation asks for one more, to see ties
            assert receipt[f"{system}.{name}.bytes"] == n_bytes
            assert receipt[f"{system}.{name}.kept_share"] == pytest.approx(
                own / receipt[f"{system}.float32.ndcg@10"], abs=1e-5
            )
            assert receipt[f"{system}.{name}.kept_low"] <= receipt[f"{system}.{name}.kept_share"]
    assert receipt["tuned.binary.ndcg@10"] < receipt["tuned.int8.ndcg@10"]


def test_without_storages_float32_alone_is_scored(project: Path) -> None:
    """The bytes of a vector are known in any case."""
    receipt = made(project, StorageParams(storages=[], machine=MACHINE))
    assert receipt["base.float32.bytes"] == 64 and {key.split(".")[1] for key in receipt} == {"float32"}


def test_truncated_dimensions_are_storages_too(project: Path) -> None:
    """evaluate.truncate_dims: 8 numbers are 32 bytes."""
    file = project / "advanced.yaml"
    file.write_text(file.read_text().replace("truncate_dims: []", "truncate_dims: [8]"))
    receipt = made(project, StorageParams(storages=[], machine=MACHINE))
    assert receipt["tuned.dim_8.bytes"] == 32 and receipt["tuned.dim_8.ndcg@10"] < receipt["tuned.float32.ndcg@10"]


def test_a_document_in_passages_scores_as_its_best_one(project: Path) -> None:
    """Each document of two passages, the second one far away: the same ranking as of documents alone."""
    whole = made(project)
    ids = [f"d{i:03}" for i in range(N_DOCUMENTS) for _ in range(2)]
    table = filled({"document_id": ids, "start": [0, 1] * N_DOCUMENTS, "stop": [1, 2] * N_DOCUMENTS}, PASSAGES)
    write(table, project / "prepared/passages.parquet", PASSAGES)
    for system in ("base", "tuned"):
        file = project / "embeddings" / system / "corpus.npy"
        documents = np.load(file)
        mean = documents.mean(axis=0)
        far = np.repeat(-mean[None] / np.linalg.norm(mean), N_DOCUMENTS, axis=0).astype(np.float32) * 0.01
        np.save(file, np.stack([documents, far], axis=1).reshape(-1, DIM))
    cut = made(project)
    for name in ("float32", "float16"):
        assert cut[f"tuned.{name}.ndcg@10"] == pytest.approx(whole[f"tuned.{name}.ndcg@10"], abs=0.01)
