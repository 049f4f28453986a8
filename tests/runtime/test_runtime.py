"""Embedder: light to import, order-preserving, thread-safe; damaged encoders are named."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.runtime import Embedder

HEAVY = ("torch", "transformers", "sentence_transformers", "polars", "pandas", "dvc", "faiss", "pydantic", "tqdm")
OWN = ("onnxruntime", "tokenizers")  # what the embedder needs beside numpy


def imports(statement: str) -> dict[str, Any]:
    """Returns the CPU seconds and the heavy modules of a statement in a fresh interpreter."""
    code = (
        f"import json, sys, time; start = time.process_time(); {statement}; "
        f"print(json.dumps([time.process_time() - start, sorted(set(sys.modules) & set({HEAVY + OWN!r}))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = json.loads(done.stdout)
    return {"seconds": seconds, "heavy": heavy}


@pytest.fixture(scope="module")
def embedder(tiny_onnx: Path) -> Embedder:
    return Embedder(tiny_onnx, threads=1)


def test_importing_the_runtime_is_quick_and_loads_nothing_heavy() -> None:
    """Under half a second (best of six at most: other processes share the CPU), and no torch, polars, dvc, ..."""
    statement = "from attune.runtime import Embedder, verify; import attune.runtime.search"
    tries: list[float] = []
    while not tries or (min(tries) >= 0.5 and len(tries) < 6):
        attempt = imports(statement)
        assert attempt["heavy"] == [*OWN]
        tries.append(attempt["seconds"])
    assert min(tries) < 0.5


def test_array_types_need_numpy_alone() -> None:
    """Modules of every room import them, and must not load onnxruntime for it."""
    assert imports("import attune.runtime.arrays, attune.runtime.faiss_settings")["heavy"] == []


def test_the_import_test_can_fail() -> None:
    """A heavy module and lost time are both detected."""
    cost = imports("import attune.runtime, polars; sum(range(50_000_000))")
    assert cost["heavy"] == ["polars"]
    assert cost["seconds"] > 0.5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), max_size=12), data=st.data())
def test_any_unicode_text_keeps_its_place_and_has_length_1(embedder: Embedder, texts: list[str], data: Any) -> None:
    """For any texts, order and batch size, row i is the unit embedding of text i."""
    size = data.draw(st.integers(1, 5))
    got = embedder.encode(texts, batch_size=size)
    assert got.shape == (len(texts), 32) and got.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    for row, text in zip(got, texts, strict=True):
        np.testing.assert_allclose(row, embedder.encode([text])[0], atol=2e-6)


def test_no_texts_give_no_rows(embedder: Embedder) -> None:
    """The shape keeps the dimension, so that arrays can be stacked."""
    assert embedder.encode([]).shape == embedder.encode_query([]).shape == (0, 32)


def test_texts_beyond_the_maximum_length_are_cut_not_refused(embedder: Embedder) -> None:
    """Two texts that share their first 30 tokens (and CLS, SEP) are equal to an encoder of 32."""
    first, second = embedder.encode(["red " * 30, "red " * 30 + "blue " * 500])
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, embedder.encode(["red " * 29 + "blue"])[0], atol=1e-3)


def test_prompts_of_the_manifest_are_put_before_the_texts(onnx_copy: Path) -> None:
    """Query, document and default prompt are used by their own methods."""
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    manifest |= {"prompts": {"query": "find ", "document": "text ", "other": "add "}, "default_prompt_name": "other"}
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest))
    prompted = Embedder(onnx_copy)
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest | {"prompts": {}, "default_prompt_name": None}))
    plain = Embedder(onnx_copy)
    np.testing.assert_array_equal(prompted.encode_query(["a cat"]), plain.encode(["find a cat"]))
    np.testing.assert_array_equal(prompted.encode_document(["a cat"]), plain.encode(["text a cat"]))
    np.testing.assert_array_equal(prompted.encode(["a cat"]), plain.encode(["add a cat"]))
    np.testing.assert_array_equal(plain.encode_query(["a cat"]), plain.encode(["a cat"]))


def test_one_embedder_serves_many_threads(embedder: Embedder) -> None:
    """Sixteen concurrent calls return the bits of sequential ones."""
    lists = [[f"{word} stack {n}" for n in range(n_texts)] for n_texts, word in enumerate(["cat", "dog"] * 8, 1)]
    alone = [embedder.encode(texts) for texts in lists]
    with ThreadPoolExecutor(8) as pool:
        for expected, got in zip(alone, pool.map(embedder.encode, lists), strict=True):
            np.testing.assert_array_equal(got, expected)


def test_half_a_surrogate_pair_is_refused_with_its_row(embedder: Embedder) -> None:
    """Such strings come from careless JSON; a service must be able to name the row."""
    with pytest.raises(BadInput, match="^text 2: got half of a surrogate pair"):
        embedder.encode(["a", "b", "c\ud83d"])


def test_one_string_is_refused(embedder: Embedder) -> None:
    """It would be embedded letter by letter."""
    with pytest.raises(TypeError, match="give a list"):
        embedder.encode("stack arrays")


@pytest.mark.parametrize("size", [0, -1])
@pytest.mark.parametrize("method", ["encode", "encode_query", "encode_document"])
def test_a_batch_size_below_1_is_refused(embedder: Embedder, method: str, size: int) -> None:
    """Refused even without texts; a negative size would return uninitialised memory."""
    for texts in (["stack arrays"], []):
        with pytest.raises(ValueError, match=f"batch_size is {size}; it must be 1 or more"):
            getattr(embedder, method)(texts, batch_size=size)


# imitates an environment with attune's base dependencies alone: an importer before all others refuses modules outside
# the standard library, the base dependencies and their own dependencies
BLOCK = """
import sys
class Blocker:
    BASE = set(sys.stdlib_module_names) | {"attune", "numpy", "onnxruntime", "tokenizers"}
    INDIRECT = {"flatbuffers", "google", "packaging", "sympy", "mpmath"}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.BASE | self.INDIRECT:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def run_blocked(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs code where nothing but the base dependencies can be imported."""
    return subprocess.run([sys.executable, "-c", BLOCK + code, *arguments], capture_output=True, text=True, check=False)


def run_module(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m attune.runtime` with the base dependencies alone."""
    return run_blocked(
        "import runpy; runpy.run_module('attune.runtime', run_name='__main__', alter_sys=True)", *arguments
    )


def test_a_service_embeds_with_the_base_dependencies_alone(tiny_onnx: Path, embedder: Embedder) -> None:
    """The vectors are the same, search without FAISS names the missing package, torch cannot be imported."""
    code = """
import json
from attune.runtime import Embedder
from attune.runtime.search import Search
embedder = Embedder(sys.argv[1], threads=1)
missing = []
for attempt in (lambda: __import__("torch"), lambda: Search.build(embedder.encode(["a"]), ["a"])):
    try:
        attempt()
    except ImportError as error:
        missing.append(str(error))
print(json.dumps([embedder.encode_query(["a cat"]).tolist(), missing]))
"""
    done = run_blocked(code, str(tiny_onnx))
    assert (done.returncode, done.stderr) == (0, "")
    vectors, missing = json.loads(done.stdout)
    np.testing.assert_allclose(vectors, embedder.encode_query(["a cat"]), atol=1e-7)
    assert missing == ["No module named 'torch'", "attune.runtime.search needs FAISS; pip install faiss-cpu"]


def test_the_command_tells_a_base_install_what_it_lacks() -> None:
    """One line instead of a traceback."""
    done = run_blocked("from attune.__main__ import main; main()")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("attune: the command needs ") and "make .venv/ready" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_service_verifies_with_the_base_dependencies_alone(onnx_copy: Path) -> None:
    """`python -m attune.runtime FOLDER` accepts a whole encoder and names a damaged file in one line."""
    done = run_module(str(onnx_copy))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{onnx_copy}: every file and every golden vector matches the manifest\n"
    with (onnx_copy / "tokenizer.json").open("a") as file:
        file.write(" ")
    done = run_module(str(onnx_copy))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"attune.runtime: {onnx_copy / 'tokenizer.json'}: sha256 is ")
    assert done.stderr.count("\n") == 1


def test_progress_shows_on_a_terminal_only(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A terminal gets the counts; a log file stays clean."""
    embedder.encode(["a", "b", "c"], batch_size=2, show_progress=True)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    embedder.encode(["a", "b", "c"], batch_size=2, show_progress=True)
    assert capsys.readouterr().err == "\rencode: 2/3 texts\rencode: 3/3 texts\n"


def test_progress_is_reported_after_each_batch(embedder: Embedder) -> None:
    """The callback gets done and total, also from the methods with prompts."""
    for method in (embedder.encode, embedder.encode_query, embedder.encode_document):
        calls: list[tuple[int, int]] = []
        method(["a", "b", "c"], batch_size=2, progress=lambda *counts: calls.append(counts))  # noqa: B023
        assert calls == [(2, 3), (3, 3)]


def one_line(error: pytest.ExceptionInfo[BadInput]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["manifest.json", "tokenizer.json", "onnx/model.onnx"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut"])
def test_a_missing_or_damaged_file_gets_one_line_that_names_it(onnx_copy: Path, name: str, damage: str) -> None:
    """A service's log names the file after a failed download."""
    content = (onnx_copy / name).read_bytes()
    (onnx_copy / name).unlink()
    if damage != "missing":
        (onnx_copy / name).write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(BadInput) as error:
        Embedder(onnx_copy)
    assert one_line(error).startswith(f"{onnx_copy / name}: ")


def test_a_folder_that_is_no_encoder_gets_one_line(tmp_path: Path) -> None:
    """A path with a typing error is explained."""
    with pytest.raises(BadInput) as error:
        Embedder(tmp_path / "nowhere")
    assert "give the folder of an exported encoder" in one_line(error)


def test_token_ids_are_embedded_as_their_texts_are(tiny_onnx: Path) -> None:
    """[CLS] stack array [SEP] is 4, [CLS] sort [SEP] is 3; cut at 32; the vectors equal those of `encode`."""
    embedder, texts = Embedder(tiny_onnx, threads=1), ["stack array", "sort", "sort " * 500]
    rows = embedder.token_ids(texts)
    assert [len(row) for row in rows] == [4, 3, 32]
    np.testing.assert_array_equal(embedder.encode_tokens(rows), embedder.encode(texts))
    with pytest.raises(TypeError, match="give a list"):
        embedder.token_ids("sort")
