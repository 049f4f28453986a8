"""How a run is judged while it goes on: retrieval on the dev split, and a bar that shows the score."""

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
class Dev:
    """What the run is judged on: queries and documents by id, and the ids of each query's relevant documents."""

    queries: dict[str, str]
    corpus: dict[str, str]
    relevant: dict[str, set[str]]


class DevEvaluator(InformationRetrievalEvaluator):
    """The library's retrieval evaluator, over embeddings made by `TorchEncoder` in the run's precision.

    Deliberately not `attune.measures`: a new measure in the report must not cost a new training run.
    """

    def __init__(self, dev: Dev, precision: str) -> None:
        super().__init__(
            dev.queries,
            dev.corpus,
            dev.relevant,
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


class Bar(TrainerCallback):
    """A progress bar over steps, with the last dev score; silent where nobody watches."""

    def on_train_begin(self, _args: object, state: TrainerState, _control: object, **_: object) -> None:
        """Starts at the step that a resumed run starts at."""
        silent = None if processes.is_first() else True
        self.bar = tqdm(desc="train", unit="step", total=state.max_steps, initial=state.global_step, disable=silent)

    def on_step_end(self, _args: object, _state: TrainerState, _control: object, **_: object) -> None:
        """One step further."""
        self.bar.update()

    def on_evaluate(
        self, _args: object, _state: TrainerState, _control: object, metrics: dict[str, float], **_: object
    ) -> None:
        """Shows the dev score."""
        self.bar.set_postfix({"dev nDCG@10": f"{metrics[DEV_MEASURE]:.3f}"})

    def on_train_end(self, *_: object, **__: object) -> None:
        """Leaves the line as it is."""
        self.bar.close()


def read_dev(folder: Path, texts: dict[str, str]) -> Dev:
    """Reads data/splits/dev.

    Args:
        folder: of the split.
        texts: of all documents, by id.

    Raises:
        BadInput: a table is missing or is not what the stage split writes.
    """
    queries = read(folder / "queries.parquet", CLUSTERED_QUERIES)
    own = read(folder / "documents.parquet", DOCUMENT_IDS)["document_id"].to_list()
    relevant: dict[str, set[str]] = {}
    for query_id, document_id, relevance in read(folder / "qrels.parquet", QRELS).iter_rows():
        if relevance > 0:
            relevant.setdefault(query_id, set()).add(document_id)
    return Dev(
        queries=dict(queries.select("query_id", "text").iter_rows()),
        corpus={id_: texts[id_] for id_ in sorted({*own, *(id_ for ids in relevant.values() for id_ in ids)})},
        relevant=relevant,
    )
