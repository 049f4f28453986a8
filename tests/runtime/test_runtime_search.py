"""Search ranks exactly with a flat index, measures recall, survives a round trip, and refuses what does not fit."""

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.search import Search

VECTORS = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
IDS = ["x", "y", "both"]


@given(
    values=st.lists(st.integers(-50, 50), min_size=3, max_size=60),
    queries=st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=3),
    k=st.integers(1, 25),
)
@settings(max_examples=60, deadline=None)
def test_a_flat_index_equals_sorting_all_scores(values: list[int], queries: list[list[int]], k: int) -> None:
    """Scores are those of a full sort, each with a document that has it, none twice."""
    vectors = np.array(values[: len(values) // 3 * 3], dtype=np.float32).reshape(-1, 3)
    ids = [f"d{row}" for row in range(len(vectors))]
    got = Search.build(vectors, ids).top(np.array(queries, dtype=np.float32), k)
    for query, hits in zip(queries, got, strict=True):
        scores = {
            name: sum(q * v for q, v in zip(query, row, strict=True)) for name, row in zip(ids, vectors, strict=True)
        }
        assert [score for _, score in hits] == sorted(scores.values(), reverse=True)[:k]
        assert all(scores[name] == score for name, score in hits) and len({name for name, _ in hits}) == len(hits)


def test_equal_scores_come_in_the_order_of_their_rows() -> None:
    """FAISS alone returns them in the order of a heap."""
    hits = Search.build(np.ones((5, 2), dtype=np.float32), list("edcba")).top(VECTORS[:1], 5)
    assert [name for name, _ in hits[0]] == list("edcba")


@pytest.mark.parametrize("factory", ["Flat", "HNSW8", "IVF1,Flat"])
def test_a_saved_index_is_loaded_unchanged(tmp_path: Path, factory: str) -> None:
    """The same hits, ids and encoder, from exact and approximate indexes; a k beyond the size returns all."""
    made = Search.build(VECTORS, IDS, "abc", factory)
    made.save(tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
    found = Search.load(tmp_path / "index", "abc")
    assert (len(found), found.encoder) == (3, "abc")
    query = np.array([[1, 0.1]], dtype=np.float32)
    assert found.top(query, 9) == made.top(query, 9)
    assert [(name, round(score, 4)) for name, score in found.top(query, 9)[0]] == [
        ("x", 1.0),
        ("both", 0.68),
        ("y", 0.1),
    ]


def test_an_index_serves_many_threads(tmp_path: Path) -> None:
    """Sixteen concurrent searches return the results of sequential ones."""
    vectors = np.random.default_rng(0).standard_normal((500, 16)).astype(np.float32)
    Search.build(vectors, [str(row) for row in range(500)]).save(tmp_path / "index")
    index = Search.load(tmp_path / "index")
    parts = [vectors[start : start + 5] for start in range(0, 80, 5)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda part: index.top(part, 10), parts))
    assert together == [index.top(part, 10) for part in parts]
    assert together[0][3][0][0] == "3"


def test_an_index_of_another_encoder_is_refused(tmp_path: Path, tiny_onnx: Path, onnx_copy: Path) -> None:
    """Graph and prompts identify the encoder; fp32 and int8 are one."""
    embedder = Embedder(tiny_onnx, threads=1)
    Search.build(embedder.encode_document(["a cat"]), ["cat"], embedder.fingerprint).save(tmp_path / "index")
    int8 = Embedder(tiny_onnx, "onnx/model_quantized.onnx", threads=1)
    assert Search.load(tmp_path / "index", int8.fingerprint).top(int8.encode_query(["a cat"]), 1)[0][0][0] == "cat"
    manifest = json.loads((onnx_copy / "manifest.json").read_text())
    (onnx_copy / "manifest.json").write_text(json.dumps(manifest | {"prompts": {"query": "find "}}))
    other = Embedder(onnx_copy, threads=1)
    with pytest.raises(
        BadInput, match=f"embedded by encoder {embedder.fingerprint[:12]}, expected {other.fingerprint[:12]}"
    ):
        Search.load(tmp_path / "index", other.fingerprint)


@pytest.mark.parametrize("name", ["index.faiss", "ids.json", "search.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_missing_or_damaged_file_gets_one_line_that_names_it(tmp_path: Path, name: str, damage: str) -> None:
    """A download that broke off is explained."""
    Search.build(VECTORS, IDS).save(tmp_path / "index")
    path = tmp_path / "index" / name
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput) as error:
        Search.load(tmp_path / "index")
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_an_existing_folder_is_never_overwritten(tmp_path: Path) -> None:
    """A service may have its index memory-mapped."""
    made = Search.build(VECTORS, IDS)
    made.save(tmp_path / "index")
    with pytest.raises(BadInput, match="exists already; save to a new folder"):
        made.save(tmp_path / "index")


def test_arguments_that_do_not_fit_are_refused() -> None:
    """Another number of ids, no rows, another dimension, k below 1."""
    with pytest.raises(ValueError, match=r"embeddings are \(3, 2\) for 1 ids"):
        Search.build(VECTORS, ["x"])
    with pytest.raises(ValueError, match=r"embeddings are \(0, 2\) for 0 ids"):
        Search.build(VECTORS[:0], [])
    for queries, k in ((np.ones((1, 3), dtype=np.float32), 1), (VECTORS, 0)):
        with pytest.raises(ValueError, match=r"expected \(m, 2\), and k of 1 or more"):
            Search.build(VECTORS, IDS).top(queries, k)


def test_a_missing_faiss_is_named_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAISS is an extra."""
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImportError, match=r"pip install faiss-cpu"):
        Search.build(VECTORS, IDS)


def near_copies(n: int, dim: int) -> np.ndarray:
    """Returns n unit vectors in tens around distant centres."""
    random = np.random.default_rng(5)
    centres = random.standard_normal((n // 10, dim))
    vectors = np.repeat(centres, 10, axis=0) + 0.2 * random.standard_normal((n, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("kind", "floor"), [("flat", 1.0), ("ivf", 0.85), ("hnsw", 0.95), ("sq8", 0.95), ("pq", 0.5)])
def test_recall_is_measured_saved_and_reproducible(tmp_path: Path, kind: str, floor: float) -> None:
    """It equals the recall against a full sort; a second build gives the same bytes."""
    vectors = near_copies(2000, 32)
    made = Search.build(vectors, [str(row) for row in range(2000)], factory=kind, queries=vectors[:200])
    nearest = np.argsort(-(vectors[:200].astype(float) @ vectors.T.astype(float)), axis=1, kind="stable")[:, :10]
    found = made.top(vectors[:200], 10)
    hits = [
        len({name for name, _ in got} & {str(row) for row in rows}) for got, rows in zip(found, nearest, strict=True)
    ]
    assert made.recall == pytest.approx(np.mean(hits) / 10, abs=1e-9) and made.recall >= floor
    made.save(tmp_path / "one")
    Search.build(vectors, [str(row) for row in range(2000)], factory=kind).save(tmp_path / "two")
    assert (tmp_path / "one" / "index.faiss").read_bytes() == (tmp_path / "two" / "index.faiss").read_bytes()
    loaded = Search.load(tmp_path / "one")
    assert (loaded.recall, loaded.description) == (made.recall, made.description)
    assert loaded.top(vectors[:5], 10) == made.top(vectors[:5], 10)


def test_recall_of_a_poor_index_is_low() -> None:
    """One cell of 64 is read; sampled documents do not count as their own neighbours."""
    vectors = np.random.default_rng(0).standard_normal((3000, 64)).astype(np.float32)
    recall = Search.build(vectors, [str(row) for row in range(3000)], factory="IVF64,Flat").recall
    assert recall is not None and 0.02 < recall < 0.5


@pytest.mark.parametrize("kind", ["ivf", "pq"])
def test_too_few_rows_to_train_an_index_give_the_exact_one(kind: str) -> None:
    """The description says Flat."""
    made = Search.build(VECTORS, IDS, factory=kind)
    assert (made.description, made.recall) == ("Flat", 1.0)
    assert [name for name, _ in made.top(VECTORS[:1], 3)[0]] == ["x", "both", "y"]


@pytest.mark.parametrize(
    ("ids", "what"),
    [
        (["x", "y", "x"], "id 2, 'x', stands twice, expected one row per id"),
        (list(np.arange(3)), "id 0 is int64, expected a string; convert each id by str()"),
        (["x", 1, "y"], "id 1 is int, expected a string"),
        (["x", "y", None], "id 2 is NoneType, expected a string"),
        (["x", "\ud800", "y"], "id 1 holds half of a surrogate pair"),
    ],
)
def test_ids_that_cannot_be_saved_are_refused_at_build(ids: Any, what: str) -> None:
    """A numpy integer failed at `save` only."""
    with pytest.raises(ValueError, match=re.escape(what)) as error:
        Search.build(VECTORS, ids)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("factory", ["flat", "hnsw"])
def test_vectors_that_are_no_numbers_are_refused(value: float, factory: str) -> None:
    """Documents and queries, named by their row: they would be found never, or always."""
    bad = VECTORS.copy()
    bad[1, 1] = value
    with pytest.raises(ValueError, match="^embedding 1 holds NaN or infinite numbers"):
        Search.build(bad, IDS, factory=factory)
    with pytest.raises(ValueError, match="^query 1 holds NaN or infinite numbers"):
        Search.build(VECTORS, IDS, factory=factory, queries=bad)
    with pytest.raises(ValueError, match="^queries hold NaN or infinite numbers"):
        Search.build(VECTORS, IDS, factory=factory).top(bad, 1)


@pytest.mark.parametrize(
    "factory",
    [
        *("PQ8", "IVF", "IVF5000,Flat", "nonsense", "PQ0", "SQ7", "LSH", "IDMap,Flat", "", "\x1b[31m", "OPQ7,Flat"),
        *("HNSW0", "HNSW1", "HNSW99999999999"),
    ],
)
def test_an_index_that_faiss_cannot_build_is_one_line(factory: str) -> None:
    """Too few rows, no such index, numbers that end the process: the line has the description, not FAISS's C++ code."""
    vectors = np.random.default_rng(0).standard_normal((111, 16)).astype(np.float32)
    with pytest.raises(ValueError, match="^index ") as error:
        Search.build(vectors, [str(row) for row in range(111)], factory=factory)
    text = str(error.value)
    assert text.isprintable() and ascii(factory) in text and ".cpp" not in text and len(text) < 400


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, and a folder that is a file: one line each, no `.partial`."""
    import faiss

    def full(*_: object) -> None:
        raise RuntimeError("Error in x at f.cpp:1: write error in index.faiss: 0 != 5 (No space left on device)")

    made = Search.build(VECTORS, IDS)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match="cannot be written"):
        made.save(tmp_path / "file" / "index")
    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(BadInput, match=r"index: cannot be written \(write error .*No space left on device"):
        made.save(tmp_path / "index")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def saved(tmp_path: Path, factory: str = "Flat") -> Path:
    vectors = near_copies(200, 16)
    Search.build(vectors, [str(row) for row in range(200)], factory=factory).save(tmp_path / "index")
    return tmp_path / "index"


def put(folder: Path, name: str, content: bytes) -> None:
    """Writes a file of the index, and its hash into the record."""
    (folder / name).write_bytes(content)
    record = json.loads((folder / "search.json").read_text())
    record["files"][name] = sha256(content).hexdigest()
    (folder / "search.json").write_text(json.dumps(record))


@pytest.mark.parametrize("factory", ["Flat", "HNSW4", "IVF4,Flat", "SQ8", "PQ8x4fs"])
def test_an_index_cut_at_any_place_is_one_line(tmp_path: Path, factory: str) -> None:
    """With the hash of the cut file in the record; FAISS's reader of memory maps ends the process there."""
    folder = saved(tmp_path, factory)
    content = (folder / "index.faiss").read_bytes()
    for length in [*range(0, 300, 7), *range(300, len(content), 997)]:
        put(folder, "index.faiss", content[:length])
        with pytest.raises(BadInput, match=r"index\.faiss: not an index \(") as error:
            Search.load(folder)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("ids.json", json.dumps(["x"] * 200), "stands twice"),
        ("ids.json", json.dumps(list(range(200))), "id 0 is int, expected a string"),
        ("ids.json", json.dumps([str(row) for row in range(199)]), "200 rows of 16 numbers for 199 ids"),
        ("ids.json", "{}", "expected a list of ids"),
        ("ids.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_ids_that_do_not_fit_the_index_are_one_line(tmp_path: Path, name: str, content: str, what: str) -> None:
    """A row without an id ended in an IndexError at the first query that found it."""
    folder = saved(tmp_path)
    put(folder, name, content.encode())
    with pytest.raises(BadInput, match=what) as error:
        Search.load(folder)
    assert str(error.value).isprintable()


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """Inverted lists in a file of their own: FAISS would open it wherever the index says."""
    import faiss

    folder, lists = saved(tmp_path, "IVF4,Flat"), tmp_path / "lists.bin"
    index = faiss.read_index(str(folder / "index.faiss"))
    on_disk = faiss.OnDiskInvertedLists(index.nlist, index.code_size, str(lists))
    on_disk.merge_from_1(index.invlists)
    index.replace_invlists(on_disk, False)
    faiss.write_index(index, str(tmp_path / "moved"))
    put(folder, "index.faiss", (tmp_path / "moved").read_bytes())
    assert lists.exists()
    with pytest.raises(BadInput, match=r"index\.faiss: not an index"):
        Search.load(folder)
    (folder / "lists.bin").symlink_to(lists)
    with pytest.raises(BadInput, match=r"lists\.bin: a link that leaves the folder"):
        Search.load(folder)


def test_reading_leaves_faiss_as_it_was(tmp_path: Path) -> None:
    """The limits are variables of the process, which other code may read indexes in."""
    import faiss

    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    Search.load(saved(tmp_path))
    assert (faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()) == before
