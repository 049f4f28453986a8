"""The folder of a static query encoder: int8 to half a step, a graph that is numpy's, and what other programs load."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from folder_bytes import contents
from static_folders import TEXTS, random_tokens, random_vectors, write_static
from tokenizers import Tokenizer

from attune.export.static_folder import ROUTER, quantised
from attune.export.static_graph import INPUTS, OUTPUT
from attune.runtime import Embedder
from attune.runtime.static import GRAPH, StaticEncoder


@pytest.fixture(scope="module")
def folder(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static encoder with random token vectors, over the space of the tiny encoder."""
    return write_static(tiny_onnx, tmp_path_factory.mktemp("static") / "tuned")


def test_int8_rows_and_weights_give_the_vectors_back_to_half_a_step(tiny_onnx: Path) -> None:
    """The largest number of a row is 127 steps; a row of zeros has weight 0."""
    vectors = random_vectors(tiny_onnx)
    tokens = quantised(vectors)
    error = np.abs(tokens.vectors * tokens.weights[:, None] - vectors)
    assert (error <= 0.5001 * tokens.weights[:, None]).all()
    is_zero = ~vectors.any(axis=1)
    assert is_zero.any() and (tokens.weights[is_zero] == 0).all()
    assert (np.abs(tokens.vectors[~is_zero]).max(axis=1) == 127).all()


def test_the_graph_computes_what_numpy_computes(folder: Path, tiny_onnx: Path) -> None:
    """To 1e-6, for a padded batch, with special tokens or without, and for a text that has no token."""
    tokens = random_tokens(tiny_onnx)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    runtime = StaticEncoder(folder).encode_query(TEXTS)
    for with_special in (True, False):
        rows = [encoding.ids for encoding in tokenizer.encode_batch(TEXTS, add_special_tokens=with_special)]
        shape = (len(rows), max(map(len, rows)))
        ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)], mask[place, : len(row)] = row, 1
        (got,) = session.run([OUTPUT], dict(zip(INPUTS, (ids, mask), strict=True)))
        expected = np.zeros((len(rows), got.shape[1]))
        for place, row in enumerate(rows):
            total = (tokens.vectors[row].astype(np.float64) * tokens.weights[row, None]).sum(axis=0)
            expected[place] = total / max(np.linalg.norm(total), 1e-12)
        np.testing.assert_allclose(got, expected, atol=1e-6)
        if not with_special:
            np.testing.assert_allclose(runtime, expected, atol=1e-6)


def test_two_folders_are_the_same_bytes(folder: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    """Vectors, graph and records."""
    again = write_static(tiny_onnx, tmp_path / "again")
    assert contents(folder) == contents(again)


def test_sentence_transformers_routes_queries_to_the_lookup_and_documents_to_the_encoder(
    folder: Path, tiny_onnx: Path
) -> None:
    """encode_query gives the runtime's static vectors, encode_document those of the exported graph."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder / ROUTER), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS[1:]), StaticEncoder(folder).encode_query(TEXTS[1:]), atol=1e-5)
    documents = Embedder(tiny_onnx, threads=1).encode_document(TEXTS)
    np.testing.assert_allclose(model.encode_document(TEXTS), documents, atol=1e-5)


def test_static_embedding_loads_the_folder_itself(folder: Path) -> None:
    """The layout is model2vec's, which sentence-transformers' StaticEmbedding reads."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    model = SentenceTransformer(modules=[StaticEmbedding.load(str(folder)), Normalize()], device="cpu")
    np.testing.assert_allclose(model.encode(TEXTS[1:]), StaticEncoder(folder).encode_query(TEXTS[1:]), atol=1e-5)


def test_without_torch_weights_there_is_no_folder_of_sentence_transformers(tiny_onnx: Path, tmp_path: Path) -> None:
    """The base's exported folder has none; all else is written."""
    import shutil

    bare = shutil.copytree(tiny_onnx, tmp_path / "bare", ignore=shutil.ignore_patterns("*.safetensors"))
    folder = write_static(bare, tmp_path / "static")
    assert not (folder / ROUTER).exists() and StaticEncoder(folder).dim == 32
