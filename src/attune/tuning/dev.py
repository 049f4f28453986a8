"""Retrieval on the dev split during training, and the progress bar that shows its score."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim
from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from attune.data.sampling import sample_ids
from attune.encoding import processes
from attune.encoding.encoders import TorchEncoder
from attune.tables import DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, read
from attune.tuning.curve import DEV_MEASURE

BATCH_TOKENS = 4096
DEPTH = 10  # cut-off of every measure


@dataclass(frozen=True)
class RetrievalTask:
    """Queries and documents by id, and the ids of each query's relevant documents.

    Attributes:
        queries: text by query id; queries without a relevant document are not scored.
        corpus: text by document id.
        relevant: ids of relevant documents by query id.
        left_out: by query id, documents that are not counted in its ranking, because they are the query's own text.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, set[str]]
    left_out: dict[str, set[str]] = field(default_factory=dict)


class DevEvaluator(InformationRetrievalEvaluator):
    """Retrieval evaluator of sentence-transformers, over embeddings that `TorchEncoder` makes in the run's precision.

    Relevance is binary. Independent of `attune.evaluation` on purpose: a new measure in the report must not cost a new
    training run.
    """

    def __init__(self, task: RetrievalTask, precision: str) -> None:
        most_left_out = max(map(len, task.left_out.values()), default=0)
        super().__init__(
            task.queries,
            task.corpus,
            task.relevant,
            name="dev",
            score_functions={"cosine": cos_sim},
            main_score_function="cosine",
            ndcg_at_k=[DEPTH],
            precision_recall_at_k=[DEPTH],
            accuracy_at_k=[DEPTH],
            mrr_at_k=[DEPTH],
            map_at_k=[DEPTH + most_left_out],  # the deepest cut-off; rankings still have 10 without what is left out
            write_csv=False,
        )
        self.precision = precision
        self.left_out = task.left_out

    def embed_inputs(
        self, model: SentenceTransformer, sentences: Sequence[str], encode_fn_name: str = "query", **_: object
    ) -> torch.Tensor:
        """Embeds queries or documents: (n texts) -> (n, dim)."""
        encoder = TorchEncoder(model, self.precision, BATCH_TOKENS)
        encode = encoder.encode_query if encode_fn_name == "query" else encoder.encode_document
        return torch.from_numpy(encode(sentences))

    def compute_metrics(self, queries_result_list: list[list[dict[str, Any]]]) -> dict[str, dict[int, float]]:
        """Computes the measures from each query's ranking, without the documents that are left out for it."""
        rankings = [
            [hit for hit in hits if hit["corpus_id"] not in self.left_out.get(query_id, ())]
            for query_id, hits in zip(self.queries_ids, queries_result_list, strict=True)
        ]
        measures: dict[str, dict[int, float]] = super().compute_metrics(rankings)
        return measures


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


def relevant_ids(qrels: Iterable[tuple[str, str, int]]) -> dict[str, set[str]]:
    """Returns the ids of each query's relevant documents, from rows of QRELS; a relevance of 0 does not count."""
    return _ids_by_query((query_id, document_id) for query_id, document_id, relevance in qrels if relevance > 0)


def _ids_by_query(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = {}
    for query_id, document_id in pairs:
        ids.setdefault(query_id, set()).add(document_id)
    return ids


def read_dev(dev_split: Path, texts: Mapping[str, str], train_documents: Path, n_documents: int) -> RetrievalTask:
    """Reads the dev split as a retrieval task over its own documents and a sample of those that train may mine.

    Among dev's own documents alone nearly every query finds its answer, so that encoders hardly differ there; the
    sample makes the search nearly as hard as in the whole corpus. Each evaluation encodes all these documents.

    Args:
        dev_split: data/splits/dev.
        texts: text of every document, by id.
        train_documents: data/splits/train/documents.parquet.
        n_documents: size of the sample, which holds none of dev's own documents.

    Raises:
        BadInput: a table is missing or has other columns than stage split writes.
    """
    queries = read(dev_split / "queries.parquet", SPLIT_QUERIES)
    relevant = relevant_ids(read(dev_split / "qrels.parquet", QRELS).iter_rows())
    own = {*read(dev_split / "documents.parquet", DOCUMENT_IDS)["document_id"]}.union(*relevant.values())
    others = {*read(train_documents, DOCUMENT_IDS)["document_id"]} - own
    return RetrievalTask(
        queries=dict(queries.select("query_id", "text").iter_rows()),
        corpus={id_: texts[id_] for id_ in sorted({*own, *sample_ids(others, n_documents)})},
        relevant=relevant,
        left_out=_ids_by_query(read(dev_split / "own_texts.parquet", OWN_TEXTS).iter_rows()),
    )
