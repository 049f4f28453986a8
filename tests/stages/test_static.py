"""Stage static: a folder that searches its encoder's documents, the same bytes again, off by one key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from first_sizes import FirstSizes
from folder_bytes import contents
from frozen_inputs import without_answers, write_frozen

from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.static import RECORD, StaticEncoder, is_on
from attune.stage import Machine, call
from attune.stages.static import static
from attune.tuning.static.fit import StaticParams

PARAMS = StaticParams(
    steps=40,
    batch_size=16,
    learning_rate=0.05,
    scale=20,
    n_lines=20,
    n_tokens=10_000,
    n_documents=1000,
    evaluate_every=10,
    patience=4,
    machine=Machine(threads=1, precision="fp32", batch_tokens=4096),
)


@pytest.fixture(scope="module")
def inputs(tiny_encoder: Path, tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """40 documents and queries in the tiny encoder's embeddings, and the encoder itself."""
    return write_frozen(tmp_path_factory.mktemp("static"), tiny_encoder) | {
        "model": tiny_encoder,
        "exported": tiny_onnx,
    }


def made(inputs: dict[str, Path], out: Path, **changes: object) -> dict[str, Any]:
    """Runs the stage; returns its receipt."""
    params, receipt = PARAMS.model_copy(update=changes), out.with_suffix(".json")
    call(static, params, receipt, **inputs, system="tuned", seed=13, opset=18, out=out)
    return dict(json.loads(receipt.read_text()))


def test_the_folder_embeds_queries_for_the_documents_of_its_encoder(inputs: dict[str, Path], tmp_path: Path) -> None:
    """It carries the encoder's fingerprint, its record has the receipt's figures, and training gains on dev."""
    receipt = made(inputs, tmp_path / "tuned")
    assert (receipt["n_pairs"], receipt["n_lines"], receipt["is_off"]) == (30, 20, False)
    assert receipt["dev_ndcg@10"] >= receipt["untrained_dev_ndcg@10"] and receipt["n_steps"] <= 40
    record = json.loads((tmp_path / "tuned" / RECORD).read_text())
    encoder = StaticEncoder(tmp_path / "tuned")
    assert record["figures"] == receipt and record["encoder"] == Embedder(inputs["exported"]).fingerprint
    dev = pl.read_parquet(inputs["dev_split"] / "queries.parquet")["text"].to_list()
    documents = np.load(inputs["embeddings"] / "corpus.npy")
    ranks = (
        encoder.encode_query(dev) @ documents.T > np.sum(encoder.encode_query(dev) * documents[30:], axis=1)[:, None]
    )
    ndcg = np.where(ranks.sum(axis=1) < 10, 1 / np.log2(2 + ranks.sum(axis=1)), 0).mean()
    assert ndcg == pytest.approx(receipt["dev_ndcg@10"], abs=0.08)  # int8 may move ranks


def test_a_second_run_gives_the_same_bytes(inputs: dict[str, Path], tmp_path: Path) -> None:
    """Vectors, graph, record and receipt."""
    for name in ("one", "two"):
        made(inputs, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def test_no_vector_function_is_called_first_by_several_threads(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The optimizer's square roots come after a call with one number."""
    with FirstSizes() as first:
        made(inputs, tmp_path / "tuned")
    assert set(first.sizes.values()) == {1} and ("sqrt", torch.float32) in first.sizes


def test_without_steps_it_is_off(inputs: dict[str, Path], tmp_path: Path) -> None:
    """The folder holds its record alone, and nothing is embedded or trained."""
    assert made(inputs | {"embeddings": tmp_path / "none"}, tmp_path / "off", steps=0) == {"is_off": True}
    assert [path.name for path in (tmp_path / "off").iterdir()] == [RECORD] and not is_on(tmp_path / "off")


def test_train_without_a_usable_pair_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    """One line names the folder and the way out."""
    train = without_answers(inputs["train"], tmp_path / "train")
    with pytest.raises(BadInput, match=r"no pair of a query and a relevant document; add pairs, or set static\.steps"):
        made(inputs | {"train": train}, tmp_path / "static")
