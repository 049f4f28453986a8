"""Paired search: the base encoder and the shipped ONNX model over the same corpus, with the ranks of both."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from attune.errors import BadInput
from attune.retrieval.passages import Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime import Embedder
from attune.runtime.arrays import Float32
from attune.runtime.passages import Hit as Found
from attune.runtime.search import Search
from attune.stage import Params
from attune.tables import CORPUS, full_text, read

Encode = Callable[[list[str]], Float32]
BASE = "models/base/exported"  # the graph of the base encoder
MODEL = "models/onnx"  # the shipped model
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


@dataclass(frozen=True)
class Hit:
    """A ranked document, with its ranks by both systems (None: below the depth)."""

    rank: int
    document_id: str
    title: str
    text: str
    score: float
    base_rank: int | None
    tuned_rank: int | None
    is_answer: bool


@dataclass(frozen=True)
class SystemHits:
    """The top documents of one system, with the seconds for encoding the query and for searching."""

    system: str
    runs_in: str
    encode_seconds: float
    search_seconds: float
    hits: list[Hit]


@dataclass(frozen=True)
class PairedHits:
    """Hits of both systems, base first, and the depth of the rankings that ranks were looked up in."""

    query: str
    depth: int
    systems: list[SystemHits]


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
        base, tuned = ({found.document_id: rank for rank, found in enumerate(ranking, 1)} for ranking, _, _ in timed)
        answers = self._answers.get(query, set())
        systems = []
        for system, (ranking, encode_seconds, search_seconds) in zip(self._systems, timed, strict=True):
            hits = []
            for rank, (id_, score, start, stop) in enumerate(ranking[:k], 1):
                title, text = self._documents[id_]
                if stop is not None:  # the passage that matched
                    whole = full_text(title, text)
                    text = whole[max(start or 0, len(whole) - len(text)) : stop]
                hits.append(Hit(rank, id_, title, text, score, base.get(id_), tuned.get(id_), id_ in answers))
            systems.append(SystemHits(system.name, system.runs_in, encode_seconds, search_seconds, hits))
        return PairedHits(query, depth, systems)

    @staticmethod
    def _timed(system: SearchSystem, query: str, depth: int) -> tuple[list[Found], float, float]:
        start = time.perf_counter()
        vector = system.encode_query([query])
        encoded = time.perf_counter()
        ranking = system.index.top_passages(vector, depth)[0]
        return ranking, encoded - start, time.perf_counter() - encoded


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


def rank_change(hit: Hit, depth: int) -> str:
    """Describes a document's change of rank from base to tuned, such as `up 3, from 4 to 1`."""
    if hit.base_rank == hit.tuned_rank:
        return "same rank"
    change = "" if hit.base_rank is None or hit.tuned_rank is None else f" {abs(hit.base_rank - hit.tuned_rank)}"
    ranks = [f"below {depth}" if rank is None else rank for rank in (hit.base_rank, hit.tuned_rank)]
    return f"{direction(hit)}{change}, from {ranks[0]} to {ranks[1]}"


def direction(hit: Hit) -> str:
    """Returns "up", "down" or "same", a document's direction from base to tuned."""
    if hit.base_rank == hit.tuned_rank:
        return "same"
    return "up" if hit.base_rank is None or (hit.tuned_rank or hit.base_rank + 1) < hit.base_rank else "down"


def load_search(root: Path, params: DemoParams, answers: Mapping[str, set[str]]) -> PairedSearch:
    """Loads the graphs of the base and of the shipped encoder, and a finished pipeline's embeddings by both.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    corpus = read(root / "data/prepared/corpus.parquet", CORPUS)
    documents = {row[0]: row[1:] for row in corpus.select("document_id", "title", "text").iter_rows()}
    base, tuned = Embedder(root / BASE), Embedder(root / MODEL)
    passages = read_passages(root / "data/prepared", corpus)
    folder = root / "data/embeddings"
    systems = (
        SearchSystem("base", "ONNX", base.encode_query, _index(folder / "base", base.encode_query, passages)),
        SearchSystem("tuned", "ONNX", tuned.encode_query, _index(folder / "tuned", tuned.encode_query, passages)),
    )
    return PairedSearch(systems, documents, answers, params.depth)


def _index(folder: Path, encode_query: Encode, passages: Passages) -> Search:
    """Builds the search over a system's embeddings; encodes one query to check their dimension and to warm up."""
    path = folder / "corpus.npy"
    vectors, expected = load_embeddings(path, len(passages), "the corpus"), encode_query(["warm up"]).shape[1]
    if vectors.shape[1] != expected:
        raise BadInput(f"{path}: {vectors.shape[1]} dimensions, expected the encoder's {expected}; run `dvc repro`")
    ids = passages.corpus["document_id"].gather(passages.document_rows).to_list()
    ranges = list(passages.table.select("start", "stop").iter_rows()) if passages.is_cut else None
    return Search.build(vectors, ids, passages=ranges)
