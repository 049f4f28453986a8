"""examples/stores finds in each store what FAISS finds, with filters and hybrid queries (`make test-consumers`).

Every store gets an environment of its own and runs on a corpus of random sentences and on the tiny encoder.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from conftest import VOCABULARY
from environments import python_environment
from roster import DRIVERS, ROOT, SCRATCH
from store_runs import STORES, Hits, StoreScript, check_fused, check_nearest, recall, run

from attune.runtime import Embedder
from attune.runtime.search import Search

pytestmark = pytest.mark.consumers

N, K, DEPTH = 300, 10, 100
SECTIONS = ("plain", 'o\'clock "%s" \\ é', "")
QUERIES = [
    "solve a system of equations",
    "boat river island",
    "quick brown fox",
    "teach children animals",
    "fourier signal noise",
    '\' OR 1=1; -- "drop" (table) AND NOT * : ^ {x} %s \\',
]
MEANINGLESS = ["", "???", "the"]
ROUNDING = {"float32": 1e-5, "float16": 1e-3}
VECTOR_BYTES = {  # by dim; PostgreSQL saves 3 bytes of 2 dim + 8 below 127; sqlite-vec keeps float16 beside the bits
    "PostgreSQL, pgvector": {"float32": "4 * dim + 8", **dict.fromkeys(("float16", "hnsw", "binary"), "2 * dim + 5")},
    "LanceDB": {"float32": "4 * dim", **dict.fromkeys(("float16", "hnsw", "binary"), "2 * dim")},
    "sqlite-vec": {"float32": "4 * dim", "binary": "dim / 8"},
}
LEAST_RECALL = {"hnsw": 0.97, "binary": 0.7}  # of 10 nearest, 32 random dimensions: bits alone say little


NEW = {"_id": "twice", "section": SECTIONS[0], "text": "sheep in the garden"}  # in one call; the last one counts
NEWEST = {"_id": "twice", "section": SECTIONS[2], "text": "a storm above the city"}


class Corpus(NamedTuple):
    """Documents as they are in the end, and their exact scores for the queries, (n queries, n)."""

    documents: list[dict[str, str]]
    embeddings: Any
    queries: Any

    def nearest(self, section: str | None = None, k: int = K) -> list[Hits]:
        """Returns what FAISS finds among the documents of a section, or of all."""
        rows = [row for row, document in enumerate(self.documents) if section in (None, document["section"])]
        search = Search.build(self.embeddings[rows], [self.documents[row]["_id"] for row in rows])
        return search.top(self.queries, k)

    def scores(self, query: int) -> dict[str, float]:
        """Returns the exact score of every document."""
        return dict(zip([d["_id"] for d in self.documents], self.embeddings @ self.queries[query], strict=True))


def sentences(seed: int) -> list[dict[str, str]]:
    """Returns N documents of 5 to 12 words that no other document has in this order."""
    draw, words = np.random.default_rng(seed), VOCABULARY.split()
    return [
        {
            "_id": f"docs/é'{row}\".py::f%s",
            "section": SECTIONS[row % len(SECTIONS)],
            "text": " ".join(draw.choice(words, size=draw.integers(5, 13), replace=False)),
        }
        for row in range(N)
    ]


@pytest.fixture(scope="module")
def corpus(tiny_onnx: Path) -> Corpus:
    """The corpus after a third of it was replaced."""
    documents = [*sentences(0)[:200], *sentences(1)[200:], NEWEST]
    embedder = Embedder(tiny_onnx)
    texts = [document["text"] for document in documents]
    return Corpus(documents, embedder.encode_document(texts), embedder.encode_query(QUERIES))


def removed(corpus: Corpus) -> list[str]:
    """Returns the ids that are removed in the end: each query's best hit, and one that no document has."""
    return [*{hits[0][0] for hits in corpus.nearest()}, "' OR '1'='1"]


@pytest.fixture(scope="module", params=STORES, ids=lambda tested: tested.name)
def tested(request: pytest.FixtureRequest) -> StoreScript:
    """One of the stores."""
    return request.param


@pytest.fixture(scope="module")
def answer(
    tested: StoreScript, tiny_onnx: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """The store's hits for every storage, after documents were added in parts, some replaced and some removed."""
    kinds = {"query": QUERIES, "full_text": QUERIES + MEANINGLESS, "hybrid": QUERIES + MEANINGLESS}
    searches = {
        f"{kind}, {k}, {section}": {"function": kind, "texts": texts, "k": k, "section": section}
        for kind, texts in kinds.items()
        for k in (K, DEPTH)
        for section in (None, SECTIONS[1])
    }
    all_of_them = {"function": "query", "texts": QUERIES[:1], "k": N + 50, "section": None}
    request = {
        "model": str(tiny_onnx),
        "storages": None,
        "parts": [
            sentences(0)[:150],
            sentences(0)[150:],
            [*sentences(0)[290:], *corpus.documents[200:]],
            [NEW, NEWEST],
        ],
        "removed": removed(corpus),
        "searches": searches | {"all": all_of_them, "none": {**all_of_them, "section": "no such section"}},
    }
    return run(tested, request, tmp_path_factory.mktemp("store"))


def exact_storages(tested: StoreScript, answer: dict[str, Any]) -> list[str]:
    return [storage for storage in answer if storage not in tested.approximate]


@pytest.mark.parametrize("section", [None, SECTIONS[1]], ids=["all", "filtered"])
def test_exact_search_finds_what_faiss_finds(
    tested: StoreScript, answer: dict[str, Any], corpus: Corpus, section: str | None
) -> None:
    """Ids, order and scores are FAISS's up to rounding, in the corpus and in one section of it, at any depth."""
    assert exact_storages(tested, answer)
    for storage in exact_storages(tested, answer):
        for k in (K, DEPTH):
            all_hits = answer[storage]["hits"][f"query, {k}, {section}"]
            for query, (hits, nearest) in enumerate(zip(all_hits, corpus.nearest(section, k), strict=True)):
                check_nearest(hits, nearest, corpus.scores(query), ROUNDING.get(storage, ROUNDING["float16"]))


def test_an_approximate_index_misses_little_and_scores_what_it_finds(
    tested: StoreScript, answer: dict[str, Any], corpus: Corpus
) -> None:
    """Recall is above a floor, also in one section, which is filled; scores are those of float16, not of bits."""
    for storage in tested.approximate:
        for section in (None, SECTIONS[1]):
            found = answer[storage]["hits"][f"query, {K}, {section}"]
            assert [len(hits) for hits in found] == [K] * len(QUERIES)
            measured = recall(found, corpus.nearest(section))
            assert measured >= LEAST_RECALL[storage], f"{storage}, {section}: recall@{K} is {measured:.2f}"
            for query, hits in enumerate(found):
                scores = corpus.scores(query)
                assert [score for _, score in hits] == pytest.approx([scores[id_] for id_, _ in hits], abs=1e-3)


def test_a_storage_rounds_as_it_says(tested: StoreScript, answer: dict[str, Any], corpus: Corpus) -> None:
    """Scores of float32 are exact, those of float16 are not quite; a vector takes the bytes of docs/stores.md."""
    for storage, of_storage in answer.items():
        all_hits = of_storage["hits"][f"query, {DEPTH}, None"]
        errors = [abs(s - corpus.scores(query)[id_]) for query, hits in enumerate(all_hits) for id_, s in hits]
        is_rounded = tested.rounds and storage != "float32"
        assert (1e-5 < max(errors) < 1e-3) if is_rounded else max(errors) < 1e-5, f"{storage}: {max(errors)}"
        if tested.name in VECTOR_BYTES:
            expected = eval(VECTOR_BYTES[tested.name][storage], {"dim": corpus.embeddings.shape[1]})
            assert of_storage["vector_bytes"] == expected


def test_a_store_holds_each_document_once(tested: StoreScript, answer: dict[str, Any], corpus: Corpus) -> None:
    """Replaced documents take the place of the old ones; a filter that nothing passes finds nothing."""
    for storage in exact_storages(tested, answer):
        hits = answer[storage]["hits"]
        assert sorted(id_ for id_, _ in hits["all"][0]) == sorted(document["_id"] for document in corpus.documents)
        assert hits["none"] == [[]]


def test_full_text_finds_the_words_of_the_query(answer: dict[str, Any], corpus: Corpus) -> None:
    """Documents with most of a query's words come first; a query in the store's own syntax is just words."""
    by_id = {document["_id"]: document for document in corpus.documents}
    for of_storage in answer.values():
        for section in (None, SECTIONS[1]):
            for text, hits in zip(QUERIES, of_storage["hits"][f"full_text, {DEPTH}, {section}"], strict=False):
                words, wanted = set(text.split()), [d for d in corpus.documents if section in (None, d["section"])]
                has = {d["_id"] for d in wanted if words & set(d["text"].split()) - {"a", "of", "OR", "x"}}
                found = [id_ for id_, _ in hits]
                assert len(found) == len(set(found))
                assert has <= set(found), f"{text!r}: {len(has - set(found))} documents with a word of it are missing"
                assert {by_id[id_]["section"] for id_ in found} <= {document["section"] for document in wanted}


@pytest.mark.parametrize("section", [None, SECTIONS[1]], ids=["all", "filtered"])
def test_hybrid_is_reciprocal_rank_fusion(answer: dict[str, Any], section: str | None) -> None:
    """A document's score is the sum of 1 / (60 + rank) over both rankings; without words, that of the vectors alone."""
    for of_storage in answer.values():
        nearest, matching, fused = (
            of_storage["hits"][f"{name}, {k}, {section}"]
            for name, k in (("query", DEPTH), ("full_text", DEPTH), ("hybrid", K))
        )
        for hits, *rankings in zip(fused, nearest, matching, strict=False):
            check_fused(hits, (rankings[0], rankings[1]), K)
        for hits in fused[len(QUERIES) : len(QUERIES) + 2]:
            assert [score for _, score in hits] == pytest.approx(
                [1 / (60 + rank) for rank in range(1, K + 1)], abs=1e-6
            )


def test_an_encoder_finds_its_own_documents_only(tested: StoreScript, answer: dict[str, Any]) -> None:
    """Another encoder's queries meet no vector; opened again, the store answers as before."""
    for storage, of_storage in answer.items():
        assert of_storage["other"] == [[]] * len(QUERIES)
        if storage not in tested.approximate:
            again, before = of_storage["again"], of_storage["hits"][f"query, {K}, None"]
            for first, second in zip(again, before, strict=True):
                assert dict(map(tuple, first)) == pytest.approx(dict(map(tuple, second)), abs=1e-6)


def test_a_removed_document_is_never_found_again(tested: StoreScript, answer: dict[str, Any], corpus: Corpus) -> None:
    """By no search, in no storage; all others stay, and an id that no document has removes nothing."""
    gone = {*removed(corpus)}
    kept = sorted(document["_id"] for document in corpus.documents if document["_id"] not in gone)
    for storage, of_storage in answer.items():
        before, left = (
            {id_ for found in of_storage[key].values() for hits in found for id_, _ in hits} for key in ("hits", "left")
        )
        assert gone & before and not gone & left
        assert all(of_storage["left"][f"{name}, {K}, None"] for name in ("query", "full_text", "hybrid"))
        if storage not in tested.approximate:
            assert sorted(id_ for id_, _ in of_storage["left"]["all"][0]) == kept


def test_the_command_prints_the_hits_of_each_search(tiny_onnx: Path, tmp_path: Path) -> None:
    """try_store.py finds the document with the query's words; a fault of the input is one line that names it."""
    folder = ROOT / "examples"
    program = [python_environment(DRIVERS / "sqlite_store.txt", SCRATCH), folder / "stores" / "try_store.py"]
    places = [tmp_path / "store.db", tiny_onnx, folder / "service" / "documents.jsonl"]
    done = try_store([*program, "sqlite_store", *places, "fresh bread", "--k", "2", "--storage", "binary"])
    assert done.returncode == 0, done.stderr
    blocks = re.split(r"(?m)^(\w+):\n", done.stdout)
    assert blocks[1::2] == ["query", "full_text", "hybrid"]
    assert [len(re.findall(r"(?m)^  -?\d\.\d{4}  \S+$", block)) for block in blocks[2::2]] == [2, 1, 2]
    assert "bakery" in blocks[4]
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"_id": "a", "text": "one\u2028line"}\n{"_id": "b"}\n', encoding="utf-8")
    faults = {
        "no": (documents, "storage is 'no', expected one of float32, binary"),
        "float32": (
            documents,
            f'{documents}, line 2: expected {{"_id": "...", "text": "..."}}; mend or remove the line',
        ),
    }
    for storage, (file, line) in faults.items():
        told = try_store([*program, "sqlite_store", *places[:2], file, "fresh bread", "--storage", storage])
        assert (told.returncode, told.stderr) == (1, f"try_store: {line}\n")


def try_store(command: list[Any]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_comparisons_are_able_to_fail() -> None:
    """A wrong neighbour, a wrong score, a wrong fusion and a document twice are noticed."""
    scores = {"a": 0.9, "b": 0.5, "c": 0.1}
    nearest = [("a", 0.9), ("b", 0.5)]
    check_nearest([("a", 0.9), ("b", 0.5)], nearest, scores, 1e-3)
    for wrong in (
        [("a", 0.9), ("c", 0.1)],
        [("a", 0.9), ("b", 0.4)],
        [("a", 0.9), ("a", 0.9)],
        [("b", 0.5), ("a", 0.9)],
    ):
        with pytest.raises(AssertionError):
            check_nearest(wrong, nearest, scores, 1e-3)
    rankings = [("a", 0.9), ("b", 0.5)], [("b", 7.0), ("c", 7.0)]
    check_fused([("b", 1 / 62 + 1 / 62), ("a", 1 / 61)], rankings, 2)
    for wrong in ([("b", 1 / 61 + 1 / 60), ("a", 1 / 60)], [("a", 1 / 61), ("c", 1 / 62)]):
        with pytest.raises(AssertionError):
            check_fused(wrong, rankings, 2)
    assert recall([[("a", 1.0), ("c", 1.0)]], [nearest]) == 0.5
