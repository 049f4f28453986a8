"""Trains the query adapter: a map of the base's query embeddings under which an index of the base finds more.

Documents keep their embeddings, so a service that cannot embed its corpus again gains, too. Base is a candidate: where
no map beats it on dev by more than one standard error (the rule by which stage merge chooses), the adapter is the
identity. The folder holds the base's graph and the adapter's, and is complete without the tuned encoder.
"""

from pathlib import Path

import numpy as np

from attune.encoding.torch_threads import set_torch_threads
from attune.errors import BadInput
from attune.evaluation.frozen import dev_scores, train_pairs
from attune.evaluation.scoring.judgments import load_split
from attune.export.adapter_folder import write_adapter_folder
from attune.export.query_map import QueryMap
from attune.retrieval.passages import read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime.arrays import Float64, Int64
from attune.stage import Out, Receipt, run
from attune.tables import CORPUS, DOCUMENT_IDS, read
from attune.tuning.adapter.fit import AdapterParams, Fitted, fit
from attune.tuning.choice import Refusal, Scored, choose
from attune.tuning.curve import BASE, Candidate
from attune.tuning.estimates import gain


def chosen(fitted: Fitted, clusters: Int64) -> tuple[QueryMap, Receipt]:
    """Returns the map that ships, the identity where base wins on dev, and dev's figures.

    Args:
        fitted: the best map on dev.
        clusters: (n_queries,) number of each query's cluster.
    """
    scored = Scored(
        Candidate(fitted.step, 1, 1.0), float(fitted.values.mean()), gain(fitted.values, fitted.base, clusters)
    )
    is_identity = fitted.query_map.is_identity or choose([scored], lambda _: Refusal.NONE).chosen == BASE
    error = {"gain_standard_error": scored.gain.error} if np.isfinite(scored.gain.error) else {}
    figures = {
        "is_identity": is_identity,
        "base_dev_ndcg@10": float(fitted.base.mean()),
        "dev_ndcg@10": scored.dev,
        **error,
    }
    return QueryMap() if is_identity else fitted.query_map, figures


def adapter(
    params: AdapterParams,
    *,
    exported: Path,
    embeddings: Path,
    prepared: Path,
    train: Path,
    dev_split: Path,
    seed: int,
    opset: int,
    out: Out,
) -> Receipt:
    """Writes models/adapter: the base's graph, the adapter's graph, and a manifest with dev's figures."""
    set_torch_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    passages = read_passages(prepared, corpus)
    documents = load_embeddings(embeddings / "corpus.npy", len(passages), "the corpus")
    splits = [load_split(folder, corpus) for folder in (train, dev_split)]
    queries = [
        load_embeddings(embeddings / f"{one.name}.npy", one.n_in_file, f"the {one.name} queries") for one in splits
    ]
    usable = read(train / "documents.parquet", DOCUMENT_IDS)["document_id"]
    pairs = train_pairs(splits[0], usable, queries[0], passages, documents)
    if params.steps and not len(pairs.pairs):
        raise BadInput(f"{train}: no pair of a query and a relevant document; add pairs, or set adapter.steps to 0")

    def score(query_map: QueryMap) -> Float64:
        return dev_scores(query_map, splits[1], queries[1], passages, documents, params.machine.threads)

    fitted = fit(pairs, params, seed, score)
    clusters = np.unique(splits[1].cluster_ids.to_numpy(), return_inverse=True)[1].astype(np.int64)
    query_map, figures = chosen(fitted, clusters)
    figures = {
        "learning_rate": params.learning_rate,
        "n_steps": fitted.n_steps,
        "kept_step": 0 if query_map.is_identity else fitted.step,
        **figures,
        "n_pairs": len(pairs.pairs),
        "n_train_passages": len(pairs.documents),
    }
    write_adapter_folder(exported, query_map, opset, figures, out)
    return figures


if __name__ == "__main__":
    run(adapter)
