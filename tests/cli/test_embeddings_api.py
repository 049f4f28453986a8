"""OpenAI's embeddings API over the tiny model: the runtime's vectors, OpenAI's error objects."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.cli.demo.openai_api import ApiError, EmbeddingsApi
from attune.runtime import Embedder


@pytest.fixture(scope="module")
def api(tiny_onnx: Path) -> EmbeddingsApi:
    return EmbeddingsApi(tiny_onnx)


def embed(api: EmbeddingsApi, **request: Any) -> dict[str, Any]:
    return api.embeddings(json.dumps({"model": "tuned", **request}).encode())


def test_one_text_and_several_have_the_vectors_of_the_runtime(api: EmbeddingsApi, tiny_onnx: Path) -> None:
    """In the order of the input, as floats and as base64 of little-endian float32, with equal numbers."""
    texts = ["stack arrays", "sort", " "]
    expected = Embedder(tiny_onnx).encode(texts)
    answer = embed(api, input=texts)
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]
    np.testing.assert_array_equal(np.array([each["embedding"] for each in answer["data"]], np.float32), expected)
    coded = embed(api, input=texts, encoding_format="base64")["data"]
    unpacked = np.array([np.frombuffer(base64.b64decode(each["embedding"]), dtype="<f4") for each in coded])
    np.testing.assert_array_equal(unpacked, expected)
    alone = embed(api, input="stack arrays", dimensions=32, user="me")
    np.testing.assert_allclose(alone["data"][0]["embedding"], expected[0], atol=1e-6)
    assert (answer["object"], answer["model"], answer["data"][0]["object"]) == ("list", "tuned", "embedding")


def test_usage_counts_the_tokens_that_the_encoder_reads(api: EmbeddingsApi) -> None:
    """[CLS] stack array [SEP] is 4, [CLS] sort [SEP] is 3; a long text counts 32, the tiny encoder's maximum."""
    assert embed(api, input=["stack array", "sort"])["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert embed(api, input="sort " * 500)["usage"]["prompt_tokens"] == 32


def test_queries_and_documents_get_their_prompts_by_model_name(tiny_onnx: Path, tmp_path: Path) -> None:
    """`tuned-query` is encode_query, `tuned-document` encode_document; their prompts' tokens count."""
    folder = Path(shutil.copytree(tiny_onnx, tmp_path / "onnx"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["prompts"] = {"query": "find ", "document": "text from "}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    api, embedder = EmbeddingsApi(folder), Embedder(folder)
    by_name = {
        "tuned": (embedder.encode, 3),
        "tuned-query": (embedder.encode_query, 4),
        "tuned-document": (embedder.encode_document, 5),
    }
    assert [each["id"] for each in api.models()["data"]] == list(by_name)
    for name, (encode, n_tokens) in by_name.items():
        answer = embed(api, model=name, input="sort")
        np.testing.assert_array_equal(np.array(answer["data"][0]["embedding"], np.float32), encode(["sort"])[0])
        assert answer["usage"]["prompt_tokens"] == n_tokens


@pytest.mark.parametrize(
    ("request_", "status", "param", "code", "words"),
    [
        ({"model": "gpt", "input": "x"}, 404, "model", "model_not_found", "'gpt' does not exist; use one of: tuned,"),
        ({"model": "tuned"}, 400, "input", None, "input: missing"),
        ({"input": "x"}, 400, "model", None, "model: missing"),
        ({"model": "tuned", "input": ""}, 400, "input", None, "not empty"),
        ({"model": "tuned", "input": []}, 400, "input", None, "1 to 2048"),
        ({"model": "tuned", "input": ["x", ""]}, 400, "input", None, "not empty"),
        ({"model": "tuned", "input": ["x"] * 2049}, 400, "input", None, "1 to 2048"),
        ({"model": "tuned", "input": [101, 102]}, 400, "input", None, "token ids are not supported"),
        ({"model": "tuned", "input": "x", "encoding_format": "hex"}, 400, "encoding_format", None, "or 'base64'"),
        ({"model": "tuned", "input": "x", "dimensions": 8}, 400, "dimensions", None, "makes 32 only"),
        ({"model": "tuned", "input": "x", "n": 1}, 400, "n", None, "unknown argument"),
        ([], 400, None, None, "not a JSON object"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_an_error_object(
    api: EmbeddingsApi, request_: Any, status: int, param: str | None, code: str | None, words: str
) -> None:
    """It has OpenAI's four keys and names the wrong argument."""
    with pytest.raises(ApiError) as caught:
        api.embeddings(json.dumps(request_).encode())
    error = caught.value.content["error"]
    assert words in error.pop("message")
    assert error == {"type": "invalid_request_error", "param": param, "code": code}
    assert caught.value.status == status


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"model": "tuned", "input": "\\ud800"}', b"1" * 5000])
def test_a_body_that_is_no_json_in_unicode_is_refused(api: EmbeddingsApi, body: bytes) -> None:
    """Empty, cut, not UTF-8, a lone surrogate, a huge number: status 400."""
    with pytest.raises(ApiError) as caught:
        api.embeddings(body)
    assert caught.value.status == 400
