"""The texts of train that show an int8 graph how large its activations get."""

from collections.abc import Iterator, Sequence

import onnx
import polars as pl
from sentence_transformers import SentenceTransformer

from attune.export.folder import Description
from attune.export.int8.smooth import Features
from attune.tables import full_texts


def calibration_texts(triplets: pl.DataFrame, corpus: pl.DataFrame, n: int, seed: int, about: Description) -> list[str]:
    """Texts that show how large activations get: at most n train queries and their documents, with their prompts."""
    rows = triplets.select("text", "document_id").sample(min(n, triplets.height), seed=seed)
    documents = corpus.join(rows, on="document_id", how="semi", maintain_order="left")
    prompts = about.prompts
    queries = [prompts.get("query", "") + text for text in rows["text"]]
    return [*queries, *(prompts.get("document", "") + text for text in full_texts(documents))]


def single_texts(encoder: SentenceTransformer, texts: Sequence[str], graph: onnx.ModelProto) -> Iterator[Features]:
    """Each text as a batch of its own, as the graph takes it: without padding, which would count like tokens."""
    names = [node.name for node in graph.graph.input]
    for text in texts:
        features = encoder.preprocess([text])
        yield {name: features[name].numpy() for name in names}
