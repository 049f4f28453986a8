"""Encoder behind an endpoint, over real HTTP: the vectors of the encoder it wraps, each text sent once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chat_server import Model, Reply, loopback
from embeddings_server import Counted, embeddings_server

from attune.encoding.scored import load_encoder, way_of
from attune.encoding.served import KNOWN_TEXT, EndpointParams, Served, ServedEncoder, is_served
from attune.encoding.served_folder import write_description
from attune.encoding.served_tokens import TokenCounter
from attune.endpoints.embeddings import vectors_in
from attune.endpoints.requests import KEY
from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.manifest import read_manifest
from attune.stage import Machine

pytestmark = pytest.mark.usefixtures("loopback")
__all__ = ["loopback"]

TEXTS = ["stack the arrays", "sort", "", "a graph with nodes " * 20, "Größe 値", "sort"]
SOON = {"retry-after-ms": "1"}  # spares the test the client's pauses
MACHINE = Machine(threads=1, precision="auto", batch_tokens=512)


@pytest.fixture
def api(tiny_onnx: Path) -> Iterator[Counted]:
    with embeddings_server(tiny_onnx) as served:
        yield served


def described(folder: Path, url: str, prompts: dict[str, str] | None = None, **changes: Any) -> Served:
    """Returns an encoder of 32 numbers at an address, with its cache in the folder."""
    fields = {
        **{"url": url, "dimensions": 0, "tokenizer": "", "price": 0.5, "most_tokens": 10_000, "batch_size": 2},
        **{"timeout_seconds": 120, "retries": 2, "n_parallel": 2, "cache": str(folder / "cache")},
    }
    endpoint = EndpointParams.model_validate(fields | changes)
    return Served(model="tuned", endpoint=endpoint, prompts=prompts or {}, max_length=0, dim=32)


def encoder(folder: Path, url: str, **changes: Any) -> ServedEncoder:
    return ServedEncoder(described(folder, url, **changes), TokenCounter(None))


def embeddings(vectors: Any) -> Reply:
    """Returns a response of the API with these vectors."""
    data = [{"object": "embedding", "index": place, "embedding": own} for place, own in enumerate(vectors)]
    return 200, json.dumps({"object": "list", "data": data, "model": "tuned"}).encode(), {}


def by_length(_: int, body: dict[str, Any]) -> Reply:
    """Returns for each text a vector that depends on its length."""
    return embeddings([[1.0, float(len(text)), *[0.0] * 30] for text in body["input"]])


def test_vectors_are_those_of_the_encoder_that_is_served(api: Counted, tiny_onnx: Path, tmp_path: Path) -> None:
    """In the order of the texts and of length 1; the empty text, which the API refuses, is sent as a space."""
    got = encoder(tmp_path, api.url).encode_document(TEXTS)
    np.testing.assert_allclose(got, Embedder(tiny_onnx).encode([text or " " for text in TEXTS]), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    assert sorted(api.texts) == sorted([KNOWN_TEXT, " ", *(text for text in set(TEXTS) if text)])
    assert max(map(len, api.requests)) == 2


def test_no_text_is_sent_twice(api: Counted, tmp_path: Path) -> None:
    """A second run sends what is new, after a known text; one with nothing new sends nothing."""
    first = encoder(tmp_path, api.url).encode_query(TEXTS)
    n = len(api.texts)
    np.testing.assert_array_equal(encoder(tmp_path, api.url).encode_document(TEXTS), first)
    assert len(api.texts) == n
    encoder(tmp_path, api.url, batch_size=9, n_parallel=1).encode_query([*TEXTS, "one more"])
    assert api.texts[n:] == [KNOWN_TEXT, "one more"]


def test_prompts_stand_before_the_texts(api: Counted, tmp_path: Path) -> None:
    """Queries and documents have their own."""
    own = encoder(tmp_path, api.url, prompts={"query": "find ", "document": "text "})
    own.encode_query(["sort"])
    own.encode_document(["sort"])
    assert {"find sort", "text sort"} <= {*api.texts} and "sort" not in api.texts


def test_what_is_to_be_sent_is_said_before(api: Counted, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """11 and 4 bytes are 3 + 1 tokens; a limit below stops it, and nothing was sent."""
    own = encoder(tmp_path, api.url)
    own.announce(["stack array"], ["sort", "sort"])
    said = capsys.readouterr().err
    assert f"2 texts of 4 tokens (estimated, 4 bytes each), price 2e-06 are sent to {api.url}" in said
    with pytest.raises(BadInput, match="most_tokens: got 3, but 2 texts of 4 tokens"):
        encoder(tmp_path, api.url, most_tokens=3).announce(["stack array"], ["sort"])
    assert api.texts == []
    own.encode_document(["sort"])
    assert own.unsent(["stack array"], ["sort"]) == (1, 3)


def test_a_stopped_run_resumes(tmp_path: Path) -> None:
    """The third batch is refused: the vectors of two are kept, and the next run sends the rest."""

    def fail_fourth(number: int, body: dict[str, Any]) -> Reply:
        return (400, b"no more", {}) if number == 3 else by_length(number, body)

    texts = [f"text {'x' * n}" for n in range(8)]
    with Model(fail_fourth).serving() as model:
        with pytest.raises(BadInput, match=r"/embeddings: 'HTTP 400 no more'; check that it serves base.model"):
            encoder(tmp_path, model.url, n_parallel=1).encode_query(texts)
        assert len(model.requests) == 4
        got = encoder(tmp_path, model.url, n_parallel=1).encode_query(texts)
        assert [body["input"] for _, _, body in model.requests[4:]] == [[KNOWN_TEXT], texts[4:6], texts[6:]]
    np.testing.assert_allclose(got[:, 1] / got[:, 0], [len(text) for text in texts], rtol=1e-6)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_transient_error_is_retried(tmp_path: Path, status: int) -> None:
    """Two failures, then an answer."""
    with Model(lambda n, body: (status, b"busy", SOON) if n < 2 else by_length(n, body)).serving() as model:
        assert len(encoder(tmp_path, model.url).known_vector()) == 32
    assert len(model.requests) == 3


def test_another_encoder_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """Vectors of two encoders never stand in one cache; another precision of one encoder is no other encoder."""
    with Model(by_length).serving() as model:
        encoder(tmp_path, model.url).encode_query(["a", "b"])
    with Model(lambda _, body: embeddings([[1.0, 97.001, *[0.001] * 30] for _ in body["input"]])).serving() as model:
        encoder(tmp_path, model.url).known_vector()
    with Model(lambda _, body: embeddings([[1.0] * 32 for _ in body["input"]])).serving() as model:
        with pytest.raises(BadInput, match="tuned has another vector of a known text than earlier"):
            encoder(tmp_path, model.url).encode_query(["a", "new"])
        assert len(model.requests) == 1
        np.testing.assert_allclose(encoder(tmp_path, model.url).encode_query(["b"])[0, 1], 1 / np.sqrt(2), atol=1e-6)


def test_the_key_is_sent_and_dimensions_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key comes from the environment and is not stored; another number of dimensions is another vector."""
    monkeypatch.setenv(KEY, "sk-very-secret")
    with Model(by_length).serving() as model:
        encoder(tmp_path, model.url, dimensions=32).encode_query(["a"])
        n = len(model.requests)
        encoder(tmp_path, model.url).encode_query(["a"])
    path, headers, body = model.requests[0]
    assert (path, headers["authorization"]) == ("/v1/embeddings", "Bearer sk-very-secret")
    assert body == {"model": "tuned", "input": [KNOWN_TEXT], "encoding_format": "float", "dimensions": 32}
    assert len(model.requests) == 2 * n and "dimensions" not in model.requests[-1][2]
    assert not any(b"secret" in file.read_bytes() for file in (tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    "answer",
    [
        embeddings([[1.0] * 32] * 2),
        embeddings([]),
        embeddings([[0.0] * 32]),
        embeddings([["one"] * 32]),
        (200, b'{"data": [{"index": 0, "embedding": [NaN]}]}', {}),
        (200, b'{"data": [{"index": 1, "embedding": [1.0]}]}', {}),
        (200, b"[" * 100_000, {}),
        (200, b"", {}),
    ],
)
def test_an_answer_that_is_no_vector_is_one_line(tmp_path: Path, answer: Reply) -> None:
    """Too many or too few vectors, zeros, words, NaN, another index, nesting without end, nothing."""
    with Model(lambda *_: answer).serving() as model, pytest.raises(BadInput, match="expected embeddings") as caught:
        encoder(tmp_path, model.url, retries=0).known_vector()
    (line,) = caught.value.args
    assert line.isprintable() and len(line) < 600


def test_vectors_come_in_the_order_of_their_index() -> None:
    """3, 4 and 0, 2 have lengths 5 and 2."""
    body = json.dumps({"data": [{"index": 1, "embedding": [0, 2]}, {"index": 0, "embedding": [3, 4]}]})
    np.testing.assert_allclose(vectors_in(body, 2), [[0.6, 0.8], [0, 1]])


def test_tokens_are_counted_and_texts_cut(tiny_encoder: Path) -> None:
    """By the tokenizer: [CLS] stack array [SEP]. Without it: 4 bytes each, ö being two of them."""
    exact, estimate = TokenCounter.read(tiny_encoder / "tokenizer.json"), TokenCounter(None)
    assert exact.count(["stack array", ""]).tolist() == [4, 2] and exact.words == ""
    assert exact.cut(["stack array", "sort"], 3) == ["stack", "sort"]
    assert estimate.count(["stack", "", "größ"]).tolist() == [2, 0, 2]
    assert estimate.cut(["stack array", "aaaööö", "abc"], 1) == ["stac", "aaa", "abc"]
    assert exact.cut(["stack array"], 0) == estimate.cut(["stack array"], 0) == ["stack array"]
    with pytest.raises(BadInput, match=r"base\.endpoint\.tokenizer: nowhere is no tokenizer\.json"):
        TokenCounter.read(Path("nowhere"))


def test_the_folder_stands_in_for_weights_and_graph(api: Counted, tiny_encoder: Path, tmp_path: Path) -> None:
    """Stages load the encoder from it, its tokenizer beside it; its fingerprint is that of model and dimensions."""
    tokenizer = shutil.copy(tiny_encoder / "tokenizer.json", tmp_path / "own.json")
    served = described(tmp_path, api.url, tokenizer=str(tokenizer)).model_copy(update={"max_length": 3})
    write_description(served, "CC0", tmp_path / "base", tmp_path / "exported")
    assert is_served(tmp_path / "base") and not is_served(tiny_encoder)
    way = way_of("base", tmp_path / "base", MACHINE)
    assert way == ("endpoint", "server", "unknown")
    loaded = load_encoder("base", way, tmp_path / "base", tmp_path / "exported", MACHINE)
    assert loaded.dim == 32
    loaded.encode_query(["stack array"])
    assert api.texts[-1] == "stack"
    moved = described(tmp_path, "http://127.0.0.1:9/v1").model_copy(update={"max_length": 3})
    write_description(moved, "CC0", tmp_path / "moved", tmp_path / "moved_exported")
    other = moved.model_copy(update={"model": "other"})
    write_description(other, "CC0", tmp_path / "other", tmp_path / "other_exported")
    names = ("exported", "moved_exported", "other_exported")
    prints = [read_manifest(tmp_path / name).fingerprint() for name in names]
    assert prints[0] == prints[1] != prints[2]
