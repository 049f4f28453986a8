"""Stage adapter: pairs of train in passages, the identity where base wins, and a folder that serves a kept index."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from first_sizes import FirstSizes
from folder_bytes import contents
from frozen_inputs import N, without_answers, write_frozen
from prepared_tables import filled
from shipped_params import PANEL

from attune.errors import BadInput
from attune.export.query_map import QueryMap
from attune.retrieval.passages import PASSAGES, Passages
from attune.runtime import Embedder, verify
from attune.runtime.adapter import ADAPTER, QueryAdapter
from attune.runtime.search import Search
from attune.stage import Machine, call
from attune.stages.adapter import adapter, chosen
from attune.tables import CORPUS
from attune.tuning.adapter.fit import AdapterParams, Fitted
from attune.tuning.adapter.pairs import train_pairs
from attune.tuning.base_encoder import write_graph

PARAMS = AdapterParams(
    steps=40,
    batch_size=16,
    learning_rate=0.01,
    scale=20,
    rank=0,
    hidden=0,
    n_documents=1000,
    evaluate_every=10,
    patience=4,
    machine=Machine(threads=1, precision="fp32", batch_tokens=4096),
)


@pytest.fixture(scope="module")
def inputs(tiny_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """40 documents and queries in base's embeddings, which are the tiny encoder's, and its graph."""
    root = tmp_path_factory.mktemp("adapter")
    paths = write_frozen(root, tiny_encoder)
    write_graph(tiny_encoder, 32, PANEL, root / "exported")
    return paths | {"exported": root / "exported"}


def made(inputs: dict[str, Path], out: Path, **changes: object) -> dict[str, Any]:
    """Runs the stage; returns its receipt."""
    params, receipt = PARAMS.model_copy(update=changes), out.with_suffix(".json")
    call(adapter, params, receipt, **inputs, seed=13, opset=18, out=out)
    return dict(json.loads(receipt.read_text()))


def test_the_folder_serves_queries_for_an_index_of_the_base(inputs: dict[str, Path], tmp_path: Path) -> None:
    """It verifies; documents and plain queries are the base's; adapted queries search the same index by Search."""
    receipt = made(inputs, tmp_path / "adapter", patience=10)
    assert receipt["n_pairs"] == receipt["n_train_passages"] == 30 and receipt["n_steps"] == 40
    verify(tmp_path / "adapter")
    manifest = json.loads((tmp_path / "adapter/manifest.json").read_text())
    assert manifest["graphs"] == {"fp32": "onnx/model.onnx", "query_adapter": ADAPTER} and ADAPTER in manifest["files"]
    assert manifest["query_adapter"] == receipt
    embedder = Embedder(tmp_path / "adapter", threads=1)
    texts = pl.read_parquet(inputs["train"] / "queries.parquet")["text"].to_list()
    plain, adapted = embedder.encode_query(texts), embedder.encode_query(texts, adapter=True)
    np.testing.assert_allclose(plain, np.load(inputs["embeddings"] / "train.npy"), atol=1e-5)
    np.testing.assert_array_equal(adapted, QueryAdapter(tmp_path / "adapter")(plain))
    documents = np.load(inputs["embeddings"] / "corpus.npy")
    Search.build(documents, [f"d{i:02}" for i in range(N)], embedder.fingerprint).save(tmp_path / "index")
    index = Search.load(tmp_path / "index", embedder.fingerprint)
    assert [hits[0][0] for hits in index.top(adapted, 1)] == [
        f"d{row:02}" for row in (adapted @ documents.T).argmax(axis=1)
    ]


def test_a_second_run_gives_the_same_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Graphs, manifest and receipt."""
    for name in ("one", "two"):
        made(inputs, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_no_vector_function_is_called_first_by_several_threads(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The optimizer's square roots come after a call with one number."""
    with FirstSizes() as first:
        made(inputs, tmp_path / "adapter")
    assert set(first.sizes.values()) == {1} and ("sqrt", torch.float32) in first.sizes


def test_without_steps_it_is_the_identity(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The receipt says so, and adapted queries are the plain ones to the bit."""
    receipt = made(inputs, tmp_path / "adapter", steps=0)
    assert receipt["is_identity"] and receipt["dev_ndcg@10"] == receipt["base_dev_ndcg@10"]
    embedder = Embedder(tmp_path / "adapter", threads=1)
    assert embedder.encode_query(["a tree"], adapter=True).tobytes() == embedder.encode_query(["a tree"]).tobytes()


def test_a_folder_without_an_adapter_refuses_adapted_queries(tiny_onnx: Path) -> None:
    """One line names the file that is missing."""
    with pytest.raises(BadInput, match=r"its folder has no onnx/query_adapter\.onnx; give a folder that has"):
        Embedder(tiny_onnx).encode_query(["x"], adapter=True)


@pytest.mark.parametrize(("gains", "is_identity"), [((0.1, 0.1, 0.1, 0.1), False), ((0.6, -0.2, -0.2, 0.0), True)])
def test_base_wins_within_one_standard_error(gains: tuple[float, ...], is_identity: bool) -> None:
    """Four clusters: a mean gain of .1 without spread counts; one of .05 with a standard error of .19 does not."""
    base = np.full(4, 0.3)
    fitted = Fitted(QueryMap(matrix=2 * np.eye(2, dtype=np.float32)), 10, 20, base + gains, base, ())
    query_map, figures = chosen(fitted, np.arange(4))
    assert query_map.is_identity == figures["is_identity"] == is_identity
    assert figures["dev_ndcg@10"] == pytest.approx(0.3 + sum(gains) / 4)


def test_pairs_are_of_the_nearest_passage_and_all_passages_of_answers_are_masked() -> None:
    """Two documents in two passages, one whole: document rows 0, 0, 1, 2, 2; the last is no document of train."""
    ids = ["a", "a", "b", "c", "c"]
    table = filled({"document_id": ids, "start": [0] * 5, "stop": [1] * 5, "text": ids}, PASSAGES)
    passages = Passages(filled({"document_id": ["a", "b", "c"]}, CORPUS), table)
    documents = np.eye(5, dtype=np.float32)
    queries = np.array([[0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], dtype=np.float32)
    judgments, own_texts = np.array([[0, 0, 1], [0, 1, 2], [0, 2, 1], [1, 1, 1], [1, 0, 0]]), np.array([[1, 0]])
    is_usable = np.array([True, True, False])
    pairs = train_pairs(judgments, own_texts, is_usable, queries, passages.document_rows, documents)
    assert pairs.documents.tolist() == documents[:3].tolist()
    assert pairs.pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert pairs.masked.tolist() == [[0, 0], [0, 1], [0, 2], [1, 2], [1, 0], [1, 1]]


def test_train_without_a_usable_pair_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    """One line names the folder and the way out."""
    train = without_answers(inputs["train"], tmp_path / "train")
    with pytest.raises(BadInput, match="no pair of a query and a relevant document; add pairs, or"):
        made(inputs | {"train": train}, tmp_path / "adapter")
