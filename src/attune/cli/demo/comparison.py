"""Paired search: two systems over the same corpus, base and what was made of it, with the ranks of both."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from attune.cli.demo.hits import Hit, PairedHits, SystemHits
from attune.cli.demo.systems import Encode, query_encoders
from attune.errors import BadInput
from attune.evaluation.scoring.hybrid import RANKS, fuse
from attune.evaluation.scoring.receipts import read_receipts
from attune.retrieval.bm25 import Bm25
from attune.retrieval.languages import stems_in
from attune.retrieval.passages import Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.retrieval.words import words
from attune.runtime.arrays import Float32
from attune.runtime.passages import Hit as Found
from attune.runtime.search import Search
from attune.stage import PARAMS_FILE, Params, all_params
from attune.tables import CORPUS, full_text, full_texts, read

if TYPE_CHECKING:
    import polars as pl

Fuse = Callable[[str, list[Found], int], list[Found]]  # query, its ranking, depth: the fused ranking
Ranks = Mapping[str, int]  # rank by document id, from 1 on
STATIC = "static"  # name of the system whose queries the page encodes
MAX_QUERY = 2000  # characters; encoders read the first few hundred


class DemoParams(Params):
    """Settings of the demo page and of `attune search`."""

    port: int = Field(ge=0, le=65535)
    n_results: int = Field(ge=1, le=100)
    n_examples: int = Field(ge=0, le=100)
    depth: int = Field(ge=1, le=1000)


@dataclass(frozen=True)
class SearchSystem:
    """An encoder of queries with a search over the corpus as the same encoder embeds it."""

    name: str
    runs_in: str
    encode_query: Encode
    index: Search
    fuse: Fuse | None = None  # with another ranking of the same query


class PairedSearch:
    """Two systems over one corpus.

    Args:
        systems: base, then tuned.
        documents: title and text by document id.
        answers: ids of the relevant documents of each judged query, by the query's text.
        depth: depth of each ranking in which the other system's documents are looked up.
    """

    def __init__(
        self,
        systems: tuple[SearchSystem, SearchSystem],
        documents: Mapping[str, tuple[str, str]],
        answers: Mapping[str, set[str]],
        depth: int,
    ) -> None:
        self._systems = systems
        self._depth = depth
        self._documents = documents
        self._answers = answers

    @property
    def n_documents(self) -> int:
        """Size of the corpus."""
        return len(self._documents)

    def search(self, query: str, k: int) -> PairedHits:
        """Returns the k best documents of each system, best first, each with its ranks by both."""
        depth = max(k, self._depth)
        timed = [self._timed(system, query, depth) for system in self._systems]
        base, tuned = (_ranks(ranking) for ranking, _, _ in timed)
        systems = [
            SystemHits(system.name, system.runs_in, encode, look_up, self._hits(query, ranking[:k], base, tuned))
            for system, (ranking, encode, look_up) in zip(self._systems, timed, strict=True)
        ]
        return PairedHits(query, depth, systems)

    def search_vector(self, query: str, vector: Float32, k: int) -> PairedHits:
        """Returns the k best documents of tuned's index for a vector that a page has encoded.

        Args:
            query: the encoded text.
            vector: (dim,).
            k: number of documents.

        Returns:
            One system, whose hits have tuned's rank for the query as `base_rank`, and their own as `tuned_rank`.
        """
        depth, tuned = max(k, self._depth), self._systems[1]
        before = _ranks(self._timed(tuned, query, depth)[0])
        start = time.perf_counter()
        ranking = tuned.index.top_passages(vector[None], depth)[0]
        seconds = time.perf_counter() - start
        hits = self._hits(query, ranking[:k], before, _ranks(ranking))
        return PairedHits(query, depth, [SystemHits(STATIC, "JavaScript", 0.0, seconds, hits)])

    def _hits(self, query: str, ranking: list[Found], base: Ranks, tuned: Ranks) -> list[Hit]:
        answers = self._answers.get(query, set())
        hits = []
        for rank, found in enumerate(ranking, 1):
            id_ = found.document_id
            title, text = self._documents[id_]
            if found.stop is not None:  # the passage that matched
                whole = full_text(title, text)
                text = whole[max(found.start or 0, len(whole) - len(text)) : found.stop]
            hits.append(Hit(rank, id_, title, text, found.score, base.get(id_), tuned.get(id_), id_ in answers))
        return hits

    @staticmethod
    def _timed(system: SearchSystem, query: str, depth: int) -> tuple[list[Found], float, float]:
        start = time.perf_counter()
        vector = system.encode_query([query])
        encoded = time.perf_counter()
        ranking = system.index.top_passages(vector, depth)[0]
        ranking = system.fuse(query, ranking, depth) if system.fuse else ranking
        return ranking, encoded - start, time.perf_counter() - encoded


def _ranks(ranking: list[Found]) -> Ranks:
    return {found.document_id: rank for rank, found in enumerate(ranking, 1)}


def valid_query(query: str) -> str:
    """Strips the white space around a query.

    Raises:
        BadInput: the query is empty, too long or not Unicode.
    """
    query = query.strip()
    if not query:
        raise BadInput("the query is empty; type some words")
    if len(query) > MAX_QUERY:
        raise BadInput(f"the query has {len(query)} characters, expected at most {MAX_QUERY}; shorten it")
    if any("\ud800" <= character <= "\udfff" for character in query):
        raise BadInput("the query is not valid Unicode; decode it properly")
    return query


def load_search(
    root: Path, params: DemoParams, answers: Mapping[str, set[str]], is_hybrid: bool = False
) -> PairedSearch:
    """Loads what embeds queries in both systems (`systems.query_encoders`), and a finished pipeline's documents.

    Args:
        root: of the pipeline.
        params: depth of the rankings.
        answers: as for `PairedSearch`.
        is_hybrid: fuses both rankings with BM25's, as dev has chosen for hybrid_base and the other's hybrid.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    corpus = read(root / "data/prepared/corpus.parquet", CORPUS)
    documents = {row[0]: row[1:] for row in corpus.select("document_id", "title", "text").iter_rows()}
    passages = read_passages(root / "data/prepared", corpus)
    folder = root / "data/embeddings"
    base, other = (
        SearchSystem(
            one.name, one.runs_in, one.encode_query, index_of(folder / one.documents, one.encode_query, passages)
        )
        for one in query_encoders(root)
    )
    if is_hybrid:
        fuses = with_bm25(root, corpus, (base.name, other.name))
        base, other = (
            replace(system, name=f"hybrid {system.name}", fuse=fuse)
            for system, fuse in zip((base, other), fuses, strict=True)
        )
    # scores are scaled from the last document on, so hybrids need the depth at which dev chose the weight
    depth = all_params(root / PARAMS_FILE)["evaluate"]["depth"] if is_hybrid else params.depth
    return PairedSearch((base, other), documents, answers, depth)


def with_bm25(root: Path, corpus: "pl.DataFrame", systems: Sequence[str]) -> list[Fuse]:
    """Returns one function per system, which fuses its ranking with BM25's as the receipts in metrics/ say.

    Raises:
        BadInput: a receipt is missing.
    """
    names = [f"hybrid_{system}" for system in systems]
    receipts, settings = (
        read_receipts(root / "metrics", ["bm25", *names], ()),
        all_params(root / PARAMS_FILE)["evaluate"],
    )
    language = receipts["bm25"]["language"]
    words_of = words if language == "none" else stems_in(language)
    bm25 = Bm25(full_texts(corpus), settings["bm25_k1"], settings["bm25_b"], words_of)
    ids = corpus["document_id"].to_list()
    row_of = {id_: row for row, id_ in enumerate(ids)}

    def of(receipt: Mapping[str, Any]) -> Fuse:
        weight = receipt["weighted_scores_dense_weight"] if receipt["fusion"] == "weighted scores" else RANKS

        def fused(query: str, ranking: list[Found], depth: int) -> list[Found]:
            found = {row_of[hit.document_id]: hit for hit in ranking}
            dense = np.array([[hit.score for hit in ranking]]), np.array([list(found)], dtype=np.int64)
            scores, rows = bm25.top_k([query], depth)
            fused_scores, fused_rows = fuse((scores.astype(np.float64), rows), dense, weight)
            pairs = [(int(row), float(score)) for row, score in zip(fused_rows[0], fused_scores[0], strict=True)]
            lexical = Found("", 0.0, None, None)  # a document that BM25 alone has found is shown from its beginning
            return [
                found.get(row, lexical)._replace(document_id=ids[row], score=score) for row, score in pairs if row >= 0
            ][:depth]

        return fused

    return [of(receipts[name]) for name in names]


def index_of(folder: Path, encode_query: Encode, passages: Passages) -> Search:
    """Builds the search over a system's embeddings; encodes one query to check their dimension and to warm up."""
    path = folder / "corpus.npy"
    vectors, expected = load_embeddings(path, len(passages), "the corpus"), encode_query(["warm up"]).shape[1]
    if vectors.shape[1] != expected:
        raise BadInput(f"{path}: {vectors.shape[1]} dimensions, expected the encoder's {expected}; run `dvc repro`")
    ids = passages.corpus["document_id"].gather(passages.document_rows).to_list()
    ranges = list(passages.table.select("start", "stop").iter_rows()) if passages.is_cut else None
    return Search.build(vectors, ids, passages=ranges)
