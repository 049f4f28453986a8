"""Retrieval on the dev split during training, and the progress bar that shows its score."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.util import cos_sim
from tqdm import tqdm
from transformers import TrainerCallback, TrainerState

from attune.encoding import processes
from attune.encoding.encoders import TorchEncoder
from attune.tables import CLUSTERED_QUERIES, DOCUMENT_IDS, QRELS, read
from attune.tuning.curve import DEV_MEASURE

BATCH_TOKENS = 4096


@dataclass(frozen=True)
class RetrievalTask:
    """Queries and documents by id, and the ids of each query's relevant documents."""

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, set[str]]


class DevEvaluator(InformationRetrievalEvaluator):
    """Retrieval evaluator of sentence-transformers, over embeddings that `TorchEncoder` makes in the run's precision.

    Deliberately independent of `attune.evaluation`: a new measure in the report must not cost a new training run.
    """

    def __init__(self, task: RetrievalTask, precision: str) -> None:
        super().__init__(
            task.queries,
            task.corpus,
            task.relevant,
            name="dev",
            score_functions={"cosine": cos_sim},
            main_score_function="cosine",
            ndcg_at_k=[10],
            precision_recall_at_k=[10],
            accuracy_at_k=[10],
            mrr_at_k=[10],
            map_at_k=[10],
            write_csv=False,
        )
        self.precision = precision

    def embed_inputs(
        self, model: SentenceTransformer, sentences: Sequence[str], encode_fn_name: str = "query", **_: object
    ) -> torch.Tensor:
        """Embeds queries or documents: (n texts) -> (n, dim)."""
        encoder = TorchEncoder(model, self.precision, BATCH_TOKENS)
        encode = encoder.encode_query if encode_fn_name == "query" else encoder.encode_document
        return torch.from_numpy(encode(sentences))


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


def read_dev(folder: Path, texts: dict[str, str]) -> RetrievalTask:
    """Reads the dev split as a retrieval task over its own documents and all relevant ones.

    Args:
        folder: data/splits/dev.
        texts: text of every document, by id.

    Raises:
        BadInput: a table is missing or has other columns than stage split writes.
    """
    queries = read(folder / "queries.parquet", CLUSTERED_QUERIES)
    split_documents = read(folder / "documents.parquet", DOCUMENT_IDS)["document_id"].to_list()
    relevant: dict[str, set[str]] = {}
    for query_id, document_id, relevance in read(folder / "qrels.parquet", QRELS).iter_rows():
        if relevance > 0:
            relevant.setdefault(query_id, set()).add(document_id)
    document_ids = sorted({*split_documents, *(id_ for ids in relevant.values() for id_ in ids)})
    return RetrievalTask(
        queries=dict(queries.select("query_id", "text").iter_rows()),
        corpus={id_: texts[id_] for id_ in document_ids},
        relevant=relevant,
    )
