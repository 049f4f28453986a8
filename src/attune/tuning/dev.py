"""Retrieval tasks by which training and merge choose: dev, general text, near-domain tasks. nDCG@10 per query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer
from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from attune.data.sampling import sample_ids
from attune.encoding import processes
from attune.encoding.encoders import TorchEncoder
from attune.retrieval.grouped import document_search
from attune.retrieval.ndcg import ndcg
from attune.retrieval.ties import through_ties, without_pairs
from attune.runtime.arrays import Float32, Float64, Int64
from attune.tables import DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, read
from attune.tuning.curve import DEV_MEASURE

BATCH_TOKENS = 4096
DEPTH = 10  # cut-off of nDCG
Relevance = dict[str, dict[str, int]]  # of documents, by query id and document id


@dataclass(frozen=True)
class RetrievalTask:
    """Queries and documents by id, and the relevance of each query's relevant documents.

    Attributes:
        queries: text by query id; queries without a relevant document are not scored.
        corpus: text by document id.
        relevant: relevance, above 0, by query id and document id.
        left_out: by query id, documents that are not counted in its ranking, because they are the query's own text.
        clusters: by query id, the cluster of queries that are no independent evidence; a query without one is alone.
        passages: by document id, the texts it is read in, of which the best counts; others are read whole.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: Relevance
    left_out: dict[str, set[str]] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=dict)
    passages: dict[str, list[str]] = field(default_factory=dict)


class RetrievalScorer:
    """Scores encoders on one task.

    Args:
        task: to score.
        precision: of the encoder's matrix products: fp32 or bf16.
    """

    def __init__(self, task: RetrievalTask, precision: str) -> None:
        self.precision = precision
        self.query_ids = [id_ for id_ in task.queries if task.relevant.get(id_)]
        self.queries = [task.queries[id_] for id_ in self.query_ids]
        passages = [task.passages.get(id_, [text]) for id_, text in task.corpus.items()]
        self.documents = [text for own in passages for text in own]
        self.n_documents = len(task.corpus)
        self._document_rows = np.repeat(np.arange(len(passages)), [len(own) for own in passages])
        self.clusters = _numbers([task.clusters.get(id_, f"\0{id_}") for id_ in self.query_ids])
        row_of = {id_: row for row, id_ in enumerate(task.corpus)}
        self._judgments = _rows(
            (query, row_of[id_], relevance)
            for query, query_id in enumerate(self.query_ids)
            for id_, relevance in task.relevant[query_id].items()
        )
        self._left_out = _rows(
            (query, row_of[id_], 0)
            for query, query_id in enumerate(self.query_ids)
            for id_ in sorted(task.left_out.get(query_id, ()))
            if id_ in row_of
        )[:, :2]

    def embed_documents(self, model: SentenceTransformer, texts: Sequence[str]) -> Float32:
        """Embeds documents: (n texts) -> (n, dim)."""
        return TorchEncoder(model, self.precision, BATCH_TOKENS).encode_document(texts)

    def __call__(self, model: SentenceTransformer, documents: Float32 | None = None) -> Float64:
        """Returns (n_queries,) nDCG@10, by graded relevance and expected over the orders of tied documents.

        Args:
            model: the encoder.
            documents: (n texts, dim) its embeddings of `documents`, where they are made already.
        """
        encoder = TorchEncoder(model, self.precision, BATCH_TOKENS)
        vectors = encoder.encode_document(self.documents) if documents is None else documents
        search = document_search(encoder.encode_query(self.queries), vectors, self._document_rows, threads=1)
        most_left_out = int(np.bincount(self._left_out[:, 0], minlength=1).max())
        found = through_ties(search, len(self.queries), DEPTH + most_left_out)
        scores, rows = without_pairs(*found, self._left_out)
        return ndcg(rows, self._judgments, scores, DEPTH)


class ProgressBar(TrainerCallback):
    """Progress bar over training steps with the last dev score; shown by rank 0, and only on a terminal."""

    def on_train_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Opens the bar at the step that the run starts or resumes from."""
        is_disabled = None if processes.is_rank_0() else True  # None: tqdm disables itself without a terminal
        self.bar = tqdm(
            desc="train", unit="step", total=state.max_steps, initial=state.global_step, disable=is_disabled
        )

    def on_step_end(self, _args: object, _state: TrainerState, _control: object, **_: object) -> None:
        """Advances the bar by one step."""
        self.bar.update()

    def on_evaluate(
        self, _args: object, _state: TrainerState, _control: object, metrics: dict[str, float], **_: object
    ) -> None:
        """Shows the dev score."""
        self.bar.set_postfix({"dev nDCG@10": f"{metrics[DEV_MEASURE]:.3f}"})

    def on_train_end(self, *_: object, **__: object) -> None:
        """Closes the bar; its last state stays on the screen."""
        self.bar.close()


def relevance_of(qrels: Iterable[tuple[str, str, int]]) -> Relevance:
    """Returns the relevance of each query's relevant documents, from rows of QRELS; a relevance of 0 does not count."""
    relevance: Relevance = {}
    for query_id, document_id, grade in qrels:
        if grade > 0:
            relevance.setdefault(query_id, {})[document_id] = grade
    return relevance


def read_dev(
    dev_split: Path,
    texts: Mapping[str, str],
    train_documents: Path,
    n_documents: int,
    passages: Mapping[str, list[str]] | None = None,
) -> RetrievalTask:
    """Reads the dev split as a retrieval task over its own documents and a sample of those that train may mine.

    Among dev's own documents alone nearly every query finds its answer, so that encoders hardly differ there; the
    sample makes the search nearly as hard as in the whole corpus. Each evaluation encodes all these documents.

    Args:
        dev_split: data/splits/dev.
        texts: text of every document, by id.
        train_documents: data/splits/train/documents.parquet.
        n_documents: size of the sample, which holds none of dev's own documents.
        passages: in which documents are read, by id; None reads them whole.

    Raises:
        BadInput: a table is missing or has other columns than stage split writes.
    """
    queries = read(dev_split / "queries.parquet", SPLIT_QUERIES)
    relevant = relevance_of(read(dev_split / "qrels.parquet", QRELS).iter_rows())
    own = {*read(dev_split / "documents.parquet", DOCUMENT_IDS)["document_id"]}.union(*relevant.values())
    others = {*read(train_documents, DOCUMENT_IDS)["document_id"]} - own
    left_out: dict[str, set[str]] = {}
    for query_id, document_id in read(dev_split / "own_texts.parquet", OWN_TEXTS).iter_rows():
        left_out.setdefault(query_id, set()).add(document_id)
    corpus = {id_: texts[id_] for id_ in sorted({*own, *sample_ids(others, n_documents)})}
    return RetrievalTask(
        queries=dict(queries.select("query_id", "text").iter_rows()),
        corpus=corpus,
        relevant=relevant,
        left_out=left_out,
        clusters=dict(queries.select("query_id", "cluster_id").iter_rows()),
        passages={id_: passages[id_] for id_ in corpus} if passages else {},
    )


def _rows(rows: Iterable[tuple[int, int, int]]) -> Int64:
    return np.array(list(rows), dtype=np.int64).reshape(-1, 3)


def _numbers(ids: Sequence[str]) -> Int64:
    """Returns a number from 0 for each id, the same for equal ids."""
    return np.unique(np.array(ids, dtype=object), return_inverse=True)[1].astype(np.int64)
