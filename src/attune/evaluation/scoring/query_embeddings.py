"""Embeddings of a system's queries: its encoder's, those that an adapter maps, or those of a static encoder."""

from collections.abc import Callable
from pathlib import Path

from attune.evaluation.scoring.judgments import Split
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float32

STATIC = "static_"  # of the names of systems whose queries a static encoder embeds

EmbedQueries = Callable[[Split], Float32]  # queries of a split to embeddings, (n_queries, dim)


def query_embeddings(system: str, source: Path, beside: Path, threads: int) -> EmbedQueries:
    """Returns what embeds the queries of a system: what its encoder has made of them, an adapter of it, or a lookup.

    Args:
        system: name.
        source: embeddings of documents and queries.
        beside: `source` again, the folder of an adapter, or that of a static encoder (which may be off).
        threads: of the adapter.
    """

    def made(split: Split) -> Float32:
        path = source / f"{split.name}.npy"
        return load_embeddings(path, split.n_in_file, f"the {split.name} queries")[split.rows]

    if system.startswith(STATIC):
        from attune.runtime.static import StaticEncoder, is_on  # noqa: PLC0415 - tokenizers, for two systems of ten

        if not is_on(beside):
            return made
        encoder = StaticEncoder(beside)
        return lambda split: encoder.encode_query(split.texts)
    if beside == source:
        return made
    from attune.runtime.adapter import QueryAdapter  # noqa: PLC0415 - onnxruntime, for one system of ten

    adapter = QueryAdapter(beside, threads)
    return lambda split: adapter(made(split))
