"""What tuning changed, seen from a search box: the base encoder and the shipped ONNX model over the same corpus."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from attune.errors import BadInput
from attune.retrieval.vectors import load_embeddings
from attune.runtime import Embedder
from attune.runtime.search import Search
from attune.stage import Params
from attune.tables import CORPUS, read

Encode = Callable[[list[str]], NDArray[np.float32]]
MODEL = "models/onnx"  # what ships
MAX_QUERY = 2000  # characters; encoders read the first few hundred


class DemoParams(Params):
    """What the demo page and `attune search` show."""

    port: int = Field(ge=0, le=65535)
    n_results: int = Field(ge=1, le=100)
    n_examples: int = Field(ge=0, le=100)
    depth: int = Field(ge=1, le=1000)


@dataclass(frozen=True)
class System:
    """An encoder of queries, and the search over the corpus as its own document side embeds it."""

    name: str
    runs_in: str
    encode_query: Encode
    index: Search


@dataclass(frozen=True)
class Hit:
    """One document of a ranking, and its ranks by both systems (None: below the depth)."""

    rank: int
    document_id: str
    title: str
    text: str
    score: float
    base_rank: int | None
    tuned_rank: int | None
    is_answer: bool


@dataclass(frozen=True)
class Ranking:
    """The first documents by one system, and how long encoding the query and searching took."""

    system: str
    runs_in: str
    encode_seconds: float
    search_seconds: float
    hits: list[Hit]


@dataclass(frozen=True)
class Comparison:
    """What both systems find: base first, then tuned; and how far down each was looked at."""

    query: str
    depth: int
    systems: list[Ranking]


class SideBySide:
    """Two systems over one corpus.

    Args:
        systems: base, then tuned.
        documents: title and text by document id.
        answers: for each query that was judged, its text and the ids of its relevant documents.
        depth: how far down each ranking is looked at for the other's documents.
    """

    def __init__(
        self,
        systems: tuple[System, System],
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
        """How many documents are searched."""
        return len(self._documents)

    def search(self, query: str, k: int) -> Comparison:
        """The k best documents by each system, best first, each with its ranks by both."""
        depth = max(k, self._depth)
        timed = [self._timed(system, query, depth) for system in self._systems]
        base, tuned = ({id_: rank for rank, (id_, _) in enumerate(found, 1)} for found, _, _ in timed)
        answers = self._answers.get(query, set())
        systems = []
        for system, (found, encode_seconds, search_seconds) in zip(self._systems, timed, strict=True):
            hits = []
            for rank, (id_, score) in enumerate(found[:k], 1):
                title, text = self._documents[id_]
                hits.append(Hit(rank, id_, title, text, score, base.get(id_), tuned.get(id_), id_ in answers))
            systems.append(Ranking(system.name, system.runs_in, encode_seconds, search_seconds, hits))
        return Comparison(query, depth, systems)

    @staticmethod
    def _timed(system: System, query: str, depth: int) -> tuple[list[tuple[str, float]], float, float]:
        start = time.perf_counter()
        vector = system.encode_query([query])
        encoded = time.perf_counter()
        found = system.index.top(vector, depth)[0]
        return found, encoded - start, time.perf_counter() - encoded


def checked(query: str) -> str:
    """The query without the space around it.

    Raises:
        BadInput: it is empty, too long or not Unicode.
    """
    query = query.strip()
    if not query:
        raise BadInput("the query is empty; say what to look for")
    if len(query) > MAX_QUERY:
        raise BadInput(f"the query has {len(query)} characters, expected at most {MAX_QUERY}; shorten it")
    if any("\ud800" <= character <= "\udfff" for character in query):
        raise BadInput("the query is not valid Unicode; decode it properly")
    return query


def moved(hit: Hit, depth: int) -> str:
    """A document's way from the base's ranking to the tuned one's, in words: `up 3, from 4 to 1`."""
    if hit.base_rank == hit.tuned_rank:
        return "same rank"
    change = "" if hit.base_rank is None or hit.tuned_rank is None else f" {abs(hit.base_rank - hit.tuned_rank)}"
    ranks = [f"below {depth}" if rank is None else rank for rank in (hit.base_rank, hit.tuned_rank)]
    return f"{direction(hit)}{change}, from {ranks[0]} to {ranks[1]}"


def direction(hit: Hit) -> str:
    """Whether a document went up, down or stayed at the same rank, from base to tuned."""
    if hit.base_rank == hit.tuned_rank:
        return "same"
    return "up" if hit.base_rank is None or (hit.tuned_rank or hit.base_rank + 1) < hit.base_rank else "down"


def load(root: Path, params: DemoParams, answers: Mapping[str, set[str]]) -> SideBySide:
    """The base encoder in torch and the tuned one as it ships, in ONNX, over the corpus of a finished pipeline.

    Raises:
        BadInput: the pipeline has not run yet, or its outputs do not belong together.
    """
    corpus = read(root / "data/prepared/corpus.parquet", CORPUS)
    # torch takes seconds to import: what is missing is said before
    from attune.encoding.encoders import TorchEncoder, load_torch  # noqa: PLC0415

    documents = {row[0]: row[1:] for row in corpus.select("document_id", "title", "text").iter_rows()}
    base = TorchEncoder(load_torch(root / "models/base"), "fp32", batch_tokens=4096)
    tuned = Embedder(root / MODEL)
    folder = root / "data/embeddings"
    systems = (
        System("base", "PyTorch", base.encode_query, _index(folder / "base", base.encode_query, list(documents))),
        System("tuned", "ONNX", tuned.encode_query, _index(folder / "onnx", tuned.encode_query, list(documents))),
    )
    return SideBySide(systems, documents, answers, params.depth)


def _index(folder: Path, encode_query: Encode, ids: Sequence[str]) -> Search:
    """The search over embeddings as wide as this encoder's; warms the encoder up, since the first query is slow."""
    path = folder / "corpus.npy"
    vectors, expected = load_embeddings(path, len(ids), "the corpus"), encode_query(["warm up"]).shape[1]
    if vectors.shape[1] != expected:
        raise BadInput(
            f"{path}: {vectors.shape[1]} dimensions, expected {expected} as the encoder makes; run `dvc repro`"
        )
    return Search.build(vectors, ids)
