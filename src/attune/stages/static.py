"""Trains a static query encoder: token vectors whose weighted sum finds documents that another encoder has embedded.

Documents keep their embeddings, so an index stays as it is; a query costs a lookup of its tokens instead of a run of
the transformer. Each token starts as what the encoder makes of it alone, and learns from train's pairs and from the
encoder's own embeddings of queries and of lines of train's documents. One is made over base's documents, one over
tuned's. With static.steps: 0 the folder holds its record alone, and queries are embedded by the encoder as before.
"""

from pathlib import Path

import numpy as np
import torch

from attune.encoding.scored import GRAPHS, way_of
from attune.encoding.torch_threads import set_torch_threads
from attune.errors import BadInput
from attune.evaluation.scoring.judgments import Split, load_split
from attune.export.static_folder import quantised, write_record, write_static_folder
from attune.retrieval.grouped import document_search
from attune.retrieval.ndcg import ndcg
from attune.retrieval.passages import Passages, read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime import Embedder
from attune.runtime.arrays import Float32, Float64
from attune.runtime.manifest import ENCODER, TOKENIZER, read_manifest
from attune.stage import Machine, Out, Receipt, run
from attune.tables import CORPUS, DOCUMENT_IDS, full_texts, read
from attune.tuning.adapter.pairs import train_pairs
from attune.tuning.static.fit import Lines, StaticParams, embedded, fit
from attune.tuning.static.texts import drawn, lines_of
from attune.tuning.static.tokens import Vocabulary, token_vectors

DEPTH = 10  # cut-off of nDCG


def encoder_of_lines(system: str, model: Path, exported: Path, machine: Machine) -> Embedder:
    """Returns the encoder's graph in the engine that embeds fastest here, on the CPU."""
    way = way_of(system, model, machine)
    engine = "onnxruntime" if way.device != "cpu" or way.engine == "torch" else way.engine
    precision = "fp32" if engine == "onnxruntime" else way.precision
    return Embedder(exported, GRAPHS[system], machine.threads, engine, precision)


def dev_scores(dev: Split, queries: Float32, passages: Passages, documents: Float32, threads: int) -> Float64:
    """Returns (n_queries,) nDCG@10 on dev of the queries' embeddings over the whole corpus."""
    scores, rows = dev.ranked(document_search(queries, documents, passages.document_rows, threads), DEPTH)
    return ndcg(rows, dev.judgments, scores, DEPTH)


def static(
    params: StaticParams,
    *,
    system: str,
    model: Path,
    exported: Path,
    embeddings: Path,
    prepared: Path,
    train: Path,
    dev_split: Path,
    seed: int,
    opset: int,
    out: Out,
) -> Receipt:
    """Writes models/static/X: token vectors and weights, tokenizer, graph, and the folder of sentence-transformers."""
    if not params.steps or ENCODER in read_manifest(exported).files:  # behind an endpoint no token has a vector
        off: Receipt = {"is_off": True}
        write_record(exported, off, out)
        return off
    set_torch_threads(params.machine.threads)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    passages = read_passages(prepared, corpus)
    documents = load_embeddings(embeddings / "corpus.npy", len(passages), "the corpus")
    of_train, dev = (load_split(folder, corpus) for folder in (train, dev_split))
    queries, of_dev = (
        load_embeddings(embeddings / f"{one.name}.npy", one.n_in_file, f"the {one.name} queries")
        for one in (of_train, dev)
    )
    usable = read(train / "documents.parquet", DOCUMENT_IDS)["document_id"]
    is_usable = corpus["document_id"].is_in(usable.implode())
    judged = of_train.judgments, of_train.own_texts
    pairs = train_pairs(*judged, is_usable.to_numpy(), queries, passages.document_rows, documents)
    if not len(pairs.pairs):
        raise BadInput(f"{train}: no pair of a query and a relevant document; add pairs, or set static.steps to 0")
    texts = drawn(lines_of(full_texts(corpus.filter(is_usable))), params.n_lines, seed)
    vocabulary = Vocabulary(exported / TOKENIZER, params.n_tokens, [*of_train.texts, *texts])
    alone = token_vectors(Embedder(exported, GRAPHS[system], params.machine.threads), vocabulary.token_ids)
    start = (alone * vocabulary.first_weights[:, None]).astype(np.float32)
    taught = encoder_of_lines(system, model, exported, params.machine).encode_query(texts)
    bags = vocabulary.bags(dev.texts)

    def score(vectors: Float32) -> Float64:
        mapped: Float32 = embedded(torch.from_numpy(vectors), bags).numpy()
        return dev_scores(dev, mapped, passages, documents, params.machine.threads)

    fitted = fit(
        start,
        vocabulary.bags(of_train.texts),
        pairs,
        Lines(vocabulary.bags(texts), taught),
        params,
        seed,
        score,
    )
    own = dev_scores(dev, np.ascontiguousarray(of_dev), passages, documents, params.machine.threads)
    figures = {
        "is_off": False,
        "n_steps": fitted.n_steps,
        "kept_step": fitted.step,
        "encoder_dev_ndcg@10": float(own.mean()),
        "untrained_dev_ndcg@10": fitted.curve[0][1],
        "dev_ndcg@10": float(fitted.values.mean()),
        "n_pairs": len(pairs.pairs),
        "n_lines": len(texts),
        "n_tokens": len(vocabulary.token_ids),
    }
    write_static_folder(exported, quantised(vocabulary.by_id(fitted.vectors)), opset, figures, out)
    return figures


if __name__ == "__main__":
    run(static)
