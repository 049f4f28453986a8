"""The static query encoder: sums by hand, numpy alone, and damaged folders refused in one line."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from static_folders import TEXTS, write_static

from attune.errors import BadInput
from attune.runtime.search import Search
from attune.runtime.static import RECORD, VECTORS, StaticEncoder, is_on, summed
from attune.runtime.tensors import read_tensors
from attune.stage import sha256_of


@pytest.fixture(scope="module")
def folder(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static encoder with random token vectors, over the space of the tiny encoder."""
    return write_static(tiny_onnx, tmp_path_factory.mktemp("static") / "tuned")


@pytest.fixture
def damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy to damage, without the folder of sentence-transformers."""
    copy = tmp_path / "damaged"
    copy.mkdir()
    for path in (path for path in folder.iterdir() if path.is_file()):
        (copy / path.name).write_bytes(path.read_bytes())
    return copy


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Replaces a file and its sha256 in the record, as whoever tampers with a folder would."""
    (folder / name).write_bytes(content)
    record = json.loads((folder / RECORD).read_text())
    record["files"][name]["sha256"] = sha256_of(folder / name)
    (folder / RECORD).write_text(json.dumps(record))


def test_a_query_is_the_weighted_sum_of_its_tokens_of_length_one() -> None:
    """2 * (3, 0) + 1 * (0, 8) is (6, 8), of length 10; no token, or weights of 0, give zeros."""
    vectors, weights = np.array([[3, 0], [0, 8]], dtype=np.int8), np.array([2, 1], dtype=np.float32)
    assert summed(vectors, weights).tolist() == pytest.approx([0.6, 0.8])
    assert summed(vectors[:0], weights[:0]).tolist() == summed(vectors, 0 * weights).tolist() == [0, 0]


def test_special_tokens_and_the_other_texts_of_a_call_change_nothing(folder: Path) -> None:
    """Each text of a batch gives the bytes that it gives alone; a text with special tokens written out, its vector."""
    encoder = StaticEncoder(folder)
    together = encoder.encode_query(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dim) and together.dtype == np.float32
    for row, text in zip(together, TEXTS, strict=True):
        assert row.tobytes() == encoder.encode_query([text])[0].tobytes()
        np.testing.assert_allclose(row, encoder.encode_query([f"[CLS] {text} [SEP]"])[0], atol=1e-6)
    lengths = np.linalg.norm(together, axis=1)
    assert lengths[0] == 0 and lengths[1:] == pytest.approx(1, abs=1e-6)  # the first text is empty


def test_it_searches_an_index_of_the_encoder_whose_space_it_is(folder: Path, tmp_path: Path) -> None:
    """Its fingerprint is that of the encoder, so that `Search` takes its queries and refuses those of another."""
    encoder = StaticEncoder(folder)
    documents = encoder.encode_query(TEXTS[1:])
    ids = [f"d{place}" for place in range(len(documents))]
    Search.build(documents, ids, encoder.fingerprint).save(tmp_path / "index")
    found = Search.load(tmp_path / "index", encoder.fingerprint).top(documents, 1)
    assert [hits[0][0] for hits in found] == ids
    with pytest.raises(BadInput, match="vectors of two encoders cannot be compared"):
        Search.load(tmp_path / "index", "another")


def test_neither_onnxruntime_nor_safetensors_is_loaded(folder: Path) -> None:
    """A process that encodes a query has numpy and tokenizers, and none of the libraries of graphs or training."""
    program = (
        "import sys; from attune.runtime.static import StaticEncoder; "
        f"StaticEncoder({str(folder)!r}).encode_query(['sort a matrix']); "
        "heavy = {'onnxruntime', 'onnx', 'safetensors', 'torch', 'faiss', 'polars', 'openvino'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_texts_that_are_no_strings_are_named(folder: Path) -> None:
    """One string instead of a list, a number, half of a surrogate pair."""
    encoder = StaticEncoder(folder)
    with pytest.raises(TypeError, match="texts is one string; give a list of strings"):
        encoder.encode_query("sort")
    with pytest.raises(TypeError, match="text 1 is int, expected a string"):
        encoder.encode_query(["sort", 3])  # type: ignore[list-item]
    with pytest.raises(BadInput, match="text 0: got half of a surrogate pair"):
        encoder.encode_query(["\ud800"])


def test_tensors_are_those_of_the_library(folder: Path, tmp_path: Path) -> None:
    """safetensors' own reader gives the same arrays, of int8, float16 and float32."""
    arrays = load_file(folder / VECTORS) | {"half": np.arange(6, dtype=np.float16).reshape(2, 3)}
    save_file(arrays, tmp_path / "all.safetensors", metadata={"made": "here"})
    got = read_tensors(tmp_path / "all.safetensors", "fetch it again")
    assert set(got) == set(arrays)
    for name, array in arrays.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x07",
        (2**62).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (3).to_bytes(8, "little") + b"\xff\xff\xff",
        *(
            len(header).to_bytes(8, "little") + header + bytes(8)
            for header in (
                b'{"weights": 3}',
                b'{"weights": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}',
                b'{"weights": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}',
                b'{"weights": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
                b'{"weights": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}',
                b'{"weights": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}}',
            )
        ),
    ],
)
def test_a_file_that_is_no_safetensors_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """Headers that are too long, no JSON, of other types, or that point beyond the file."""
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(
        BadInput, match=r"bad\.safetensors: not a safetensors file of int8, float16 or float32 \(.*fetch"
    ):
        read_tensors(tmp_path / "bad.safetensors", "fetch it again")


def test_damaged_folders_are_refused(damaged: Path) -> None:
    """A changed byte, a missing file, arrays of another shape, weights that are not finite, a link that leads out."""
    content = (damaged / VECTORS).read_bytes()
    (damaged / VECTORS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadInput, match=r"model\.safetensors: sha256 is"):
        StaticEncoder(damaged)
    arrays = load_file_bytes(content, damaged)
    for changed, message in (
        (arrays | {"embeddings": arrays["embeddings"][1:]}, r"expected .* by the tokenizer"),
        ({"weights": arrays["weights"]}, r"expected .* by the tokenizer"),
        (arrays | {"weights": np.full_like(arrays["weights"], np.nan)}, "weights hold NaN or infinity"),
    ):
        save_file({name: np.ascontiguousarray(array) for name, array in changed.items()}, damaged / "new")
        replaced(damaged, VECTORS, (damaged / "new").read_bytes())
        with pytest.raises(BadInput, match=message):
            StaticEncoder(damaged)
    replaced(damaged, "tokenizer.json", b"{}")
    replaced(damaged, VECTORS, content)
    with pytest.raises(BadInput, match=r"tokenizer\.json: not a tokenizer"):
        StaticEncoder(damaged)
    (damaged / VECTORS).unlink()
    (damaged / VECTORS).symlink_to("/etc/hostname")
    with pytest.raises(BadInput, match="a link that leaves the folder"):
        StaticEncoder(damaged)


def load_file_bytes(content: bytes, folder: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a safetensors file that is held in memory."""
    (folder / "old").write_bytes(content)
    arrays: dict[str, np.ndarray] = load_file(folder / "old")
    return arrays


def test_a_static_encoder_that_is_off_says_which_key_turns_it_on(damaged: Path) -> None:
    """Its folder holds the record alone."""
    record = json.loads((damaged / RECORD).read_text())
    (damaged / RECORD).write_text(json.dumps(record | {"files": {}}))
    assert not is_on(damaged)
    with pytest.raises(BadInput, match=r"the static encoder is off \(static\.steps: 0\); turn it on"):
        StaticEncoder(damaged)
    with pytest.raises(BadInput, match=r"static\.json: not found; give the folder of a static encoder"):
        is_on(damaged / "elsewhere")
