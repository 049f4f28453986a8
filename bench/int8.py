"""What int8 schemes cost and keep: speed, size, cosine to fp32 and the share of nDCG@10, of the base encoder.
Reads models/base and data/prepared of a finished pipeline; EXPERIMENTS.md has the figures that decided."""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from onnxruntime.quantization import QuantType, quantize_dynamic
from scipy.stats import bootstrap

from attune.errors import BadInput
from attune.measures import IntArray, measure
from attune.model_folder import FP32, write_settings
from attune.onnx_graph import export_graph, quantise
from attune.retrieval import top_k
from attune.runtime import Embedder
from attune.runtime.manifest import MANIFEST
from attune.stage import fail, write_json
from attune.stages.export import describe, load, manifest
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, full_texts, read

BASE, PREPARED = Path("models/base"), Path("data/prepared")


def n_bits(source: Path, path: Path) -> None:
    """Weights in blocks of 8-bit integers, activations in fp32. Imported late: it switches on every library's log."""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer as Quantiser  # noqa: PLC0415

    quantiser = Quantiser(str(source), bits=8, is_symmetric=True)
    quantiser.process()
    quantiser.model.save_model_to_file(str(path))


matmul = partial(quantize_dynamic, per_channel=True, op_types_to_quantize=["MatMul"])
chosen = partial(quantise, per_channel=True, reduce_range=False, keep_fp32=())
SCHEMES: dict[str, Callable[[Path, Path], object]] = {
    "fp32": lambda source, path: path.write_bytes(source.read_bytes()),
    "int8, default settings": quantize_dynamic,
    "int8 per channel, MatMul": matmul,
    "int8 per channel, MatMul and Gather (chosen)": chosen,
    "... FFN output in fp32": partial(chosen, keep_fp32=["*[0-9].output.dense/*"]),
    "... reduce_range": partial(chosen, reduce_range=True),
    "... unsigned weights": partial(matmul, op_types_to_quantize=["MatMul", "Gather"], weight_type=QuantType.QUInt8),
    "MatMulNBits, 8 bit": n_bits,
}


def draw(n: int) -> tuple[list[str], list[str], IntArray]:
    """At most n judged documents, the queries that they answer, and judgments (query row, document row, relevance)."""
    qrels, corpus = read(PREPARED / "qrels.parquet", QRELS), read(PREPARED / "corpus.parquet", CORPUS)
    documents = corpus.join(qrels, on="document_id", how="semi", maintain_order="left")
    documents = documents.sample(min(n, documents.height), seed=13).with_row_index("document_row")
    judged = qrels.join(documents, on="document_id", maintain_order="left")
    queries = read(PREPARED / "queries.parquet", CLUSTERED_QUERIES)
    queries = queries.join(judged, on="query_id", how="semi", maintain_order="left").with_row_index("query_row")
    rows = judged.join(queries, on="query_id").select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64))
    return queries["text"].to_list(), full_texts(documents), rows.to_numpy()


class Tried:
    """What one graph does on one thread: all embeddings, nDCG@10 per query, and what it costs."""

    def __init__(self, folder: Path, graph: str, task: tuple[list[str], list[str], IntArray]) -> None:
        queries, documents, judgments = task
        embedder = Embedder(folder, graph, threads=1)
        alone, together = (embedder.encode_document(documents[:256], batch_size=size) for size in (1, 32))
        self.cosine_alone = (alone * together).sum(axis=1).mean()  # of a document alone to itself in a batch of 32
        start = time.process_time()
        found = embedder.encode_document(documents)
        self.rate = len(documents) / (time.process_time() - start)
        self.embeddings = np.vstack([asked := embedder.encode_query(queries), found])
        self.ndcg = measure(top_k(asked, found, 10, 1)[1], judgments)["ndcg@10"]
        self.megabytes = (folder / graph).stat().st_size / 1e6

    def row(self, fp32: "Tried") -> list[str]:
        """The cells of the table; the interval of the nDCG@10 kept is a 95% bootstrap over queries."""
        settings = {"paired": True, "method": "percentile", "n_resamples": 2000, "rng": np.random.default_rng(13)}
        share = bootstrap((self.ndcg, fp32.ndcg), lambda x, y, axis: x.mean(axis=axis) / y.mean(axis=axis), **settings)
        low, high = share.confidence_interval
        cosines = [(self.embeddings * fp32.embeddings).sum(axis=1).mean(), self.cosine_alone]
        kept = f"{self.ndcg.mean() / fp32.ndcg.mean():.3f} [{low:.3f}, {high:.3f}]"
        return [f"{self.rate:.1f}", f"{self.megabytes:.1f}", *(f"{cosine:.4f}" for cosine in cosines), kept]


def main() -> None:
    """Prints one row per scheme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--max-length", type=int, default=96)
    options = parser.parse_args()
    task, encoder = draw(options.documents), load(BASE)
    about = replace(describe(encoder, BASE), max_length=options.max_length)
    print(f"{len(task[1])} documents, {len(task[0])} queries, cut at {about.max_length} tokens, one thread")
    print("| scheme | documents per CPU-second | MB | cosine to fp32 | cosine, alone to batch of 32 | nDCG@10 kept |")
    print("|---|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder, tried = Path(name), "onnx/tried.onnx"
        write_settings(BASE, folder, about)
        write_json(folder / MANIFEST, manifest(about, BASE, None, {}))
        export_graph(encoder, folder / FP32, opset=18)
        fp32 = Tried(folder, FP32, task)
        for scheme, make in SCHEMES.items():
            logging.disable(logging.WARNING)  # the quantisers report on every node; ours lifts this at its end
            make(folder / FP32, folder / tried)
            print(f"| {scheme} | {' | '.join(Tried(folder, tried, task).row(fp32))} |", flush=True)


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("bench", error)
