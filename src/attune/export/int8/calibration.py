"""Calibration texts of the int8 graph: a sample of train queries and their documents."""

from collections.abc import Iterator, Sequence

import onnx
import polars as pl
from sentence_transformers import SentenceTransformer

from attune.export.folder import Description
from attune.export.int8.smooth import Features
from attune.tables import full_texts

SEED = 13  # of the sample of train queries


def calibration_texts(triplets: pl.DataFrame, corpus: pl.DataFrame, n: int, about: Description) -> list[str]:
    """Returns at most n train queries and their documents, with their prompts, to measure activation ranges on."""
    rows = triplets.select("text", "document_id").sample(min(n, triplets.height), seed=SEED)
    documents = corpus.join(rows, on="document_id", how="semi", maintain_order="left")
    prompts = about.prompts
    queries = [prompts.get("query", "") + text for text in rows["text"]]
    return [*queries, *(prompts.get("document", "") + text for text in full_texts(documents))]


def single_texts(encoder: SentenceTransformer, texts: Sequence[str], graph: onnx.ModelProto) -> Iterator[Features]:
    """Yields the graph's inputs for each text alone: without padding, which would count like tokens."""
    names = [node.name for node in graph.graph.input]
    for text in texts:
        features = encoder.preprocess([text])
        yield {name: features[name].numpy() for name in names}
