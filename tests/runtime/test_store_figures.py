"""Recall, nDCG, time and bytes of each store of examples/stores on a finished pipeline (`make test-consumers`).

Reads models/onnx, or the folder in ATTUNE_MODEL, with the pipeline's data beside it. Writes the table that
docs/stores.md describes to scratch/consumers/stores.md.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from roster import FP32, MODEL, SCRATCH
from store_runs import STORES, Hits, StoreScript, recall, run

from attune.retrieval.ndcg import ndcg
from attune.runtime.manifest import read_manifest
from attune.runtime.search import Search
from attune.tables import CORPUS, QRELS, full_texts, read

DATA = MODEL.parent.parent / "data"
VECTORS, TEST = DATA / "embeddings" / "tuned", DATA / "splits" / "test"
N_QUERIES, K = 300, 10
LEAST_RECALL = {"float32": 0.999, "float16": 0.995, "hnsw": 0.95, "binary": 0.95}
COLUMNS = (
    "recall@10",
    "recall@10 in a section",
    "nDCG@10",
    "nDCG@10, words",
    "nDCG@10, hybrid",
    "ms, query",
    "ms, hybrid",
    "bytes per document",
)

Table = dict[tuple[str, str], list[str]]

pytestmark = [
    pytest.mark.consumers,
    pytest.mark.skipif(
        not ((MODEL / FP32).is_file() and (VECTORS / "test.npy").is_file()),
        reason=f"no {MODEL / FP32} with {VECTORS}: make repro, or set ATTUNE_MODEL",
    ),
]


class Finished(NamedTuple):
    """The corpus and a sample of the test queries, with tuned's vectors in a file for the drivers."""

    documents: list[dict[str, str]]
    queries: list[str]
    section: str
    saved: Path
    faiss: Search
    in_section: Search
    vectors: Any
    judgments: Any

    def ndcg(self, hits: list[Hits]) -> float:
        """Returns the mean nDCG@10 of rankings of the sampled queries."""
        rows = {document["_id"]: row for row, document in enumerate(self.documents)}
        ranked = [[rows[id_] for id_, _ in of_query[:K]] for of_query in hits]
        padded = np.array([of_query + [-1] * (K - len(of_query)) for of_query in ranked], dtype=np.int64)
        return float(ndcg(padded, self.judgments).mean())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Reads the pipeline's outputs; the section of a document is the first part of its id, such as a package."""
    import polars as pl

    corpus, all_queries = read(DATA / "prepared" / "corpus.parquet", CORPUS), pl.read_parquet(TEST / "queries.parquet")
    vectors = np.load(VECTORS / "corpus.npy")
    if len(vectors) != len(corpus):
        pytest.skip("the corpus was embedded in passages")
    ids, texts = corpus["document_id"].to_list(), full_texts(corpus)
    sections = [id_.partition("/")[0] for id_ in ids]
    section = Counter(sections).most_common()[-1][0]  # the smallest: hardest for a filter
    sample = np.unique(np.linspace(0, len(all_queries) - 1, N_QUERIES).astype(int))
    queries, query_vectors = all_queries["text"].gather(sample).to_list(), np.load(VECTORS / "test.npy")[sample]
    query_rows = {id_: row for row, id_ in enumerate(all_queries["query_id"].gather(sample))}
    document_rows = {id_: row for row, id_ in enumerate(ids)}
    judgments = [
        (query_rows[q], document_rows[d], relevance)
        for q, d, relevance in read(TEST / "qrels.parquet", QRELS).iter_rows()
        if q in query_rows and d in document_rows
    ]
    saved = tmp_path_factory.mktemp("saved") / "vectors.npz"
    np.savez(
        saved,
        fingerprint=read_manifest(MODEL).fingerprint(),
        document_texts=texts,
        document_vectors=vectors,
        query_texts=queries,
        query_vectors=query_vectors,
    )
    rows = [row for row, of_document in enumerate(sections) if of_document == section]
    return Finished(
        [{"_id": i, "section": s, "text": t} for i, s, t in zip(ids, sections, texts, strict=True)],
        queries,
        section,
        saved,
        Search.build(vectors, ids),
        Search.build(vectors[rows], [ids[row] for row in rows]),
        query_vectors,
        np.array(judgments, dtype=np.int64),
    )


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    """A row per store and storage, written as Markdown at the end even if tests fail."""
    rows: Table = {}
    yield rows
    lines = [f"| store | storage | {' | '.join(COLUMNS)} |", "|---|---" + "|---:" * len(COLUMNS) + "|"]
    lines += [f"| {name} | {storage} | {' | '.join(row)} |" for (name, storage), row in rows.items()]
    SCRATCH.mkdir(parents=True, exist_ok=True)
    (SCRATCH / "stores.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    "tested", [tested for tested in STORES if tested.name != "Qdrant, local mode"], ids=lambda tested: tested.name
)
def test_a_store_keeps_the_search_of_the_finished_pipeline(
    tested: StoreScript, finished: Finished, table: Table, tmp_path: Path
) -> None:
    """Exact storages find what FAISS finds but for rounding, approximate ones nearly all, also behind a filter."""
    nearest = finished.faiss.top(finished.vectors, K)
    section = finished.in_section.top(finished.vectors, K)
    base = {"texts": finished.queries, "k": K, "section": None}
    searches = {name: {**base, "function": name} for name in ("query", "full_text", "hybrid")}
    filtered = {**base, "function": "query", "section": finished.section}
    request = {
        "saved": str(finished.saved),
        "storages": None,
        "parts": [finished.documents],
        "searches": {**searches, "filtered": filtered},
        "removed": [],
    }
    table["FAISS", "flat"] = ["1", "1", f"{finished.ndcg(nearest):.3f}", *[""] * 5]
    for storage, answer in run(tested, request, tmp_path).items():
        hits, ms = answer["hits"], answer["ms"]
        found, of_section = recall(hits["query"], nearest), recall(hits["filtered"], section)
        table[tested.name, storage] = [
            f"{found:.4f}",
            f"{of_section:.4f}",
            *(f"{finished.ndcg(hits[name]):.3f}" for name in ("query", "full_text", "hybrid")),
            *(f"{ms[name]:.1f}" for name in ("query", "hybrid")),
            f"{answer['bytes'] / len(finished.documents):,.0f}",
        ]
        least = LEAST_RECALL[storage]
        assert found >= least, f"{storage}: recall@{K} is {found:.4f}, expected {least}"
        assert of_section >= least, f"{storage}, filtered: recall@{K} is {of_section:.4f}, expected {least}"
