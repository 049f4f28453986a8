"""Compares int8 schemes: speed beside torch and fastembed, size, cosine to fp32, share of nDCG@10 kept.

Reads models/tuned and data of a finished pipeline; scores the dev queries on a sample of the documents. Results are in
docs/experiments.md. fastembed needs another version of huggingface_hub and runs in the environment that
`make test-consumers` makes.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import polars as pl
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import quantize_dynamic

from attune.encoding.encoders import load_for_export
from attune.errors import BadInput
from attune.evaluation.scoring.measures import measure
from attune.export.folder import FP32, write_settings
from attune.export.graph import export_graph
from attune.export.int8.calibration import calibration_texts, single_texts
from attune.export.int8.quantise import Scheme, to_int8
from attune.export.int8.smooth import Features
from attune.export.modules import describe
from attune.export.shipped import ExportParams, build_manifest
from attune.retrieval.exact import top_k
from attune.runtime import Embedder
from attune.runtime.arrays import Int64
from attune.runtime.manifest import MANIFEST
from attune.stage import fail, load_params, write_json
from attune.tables import CORPUS, QRELS, SPLIT_QUERIES, TRIPLETS, full_texts, read
from bench.rivals.fastembed_process import Seconds, fastembed

MODEL, DATA, SHOWN = Path("models/tuned"), Path("data"), "onnx/shown.onnx"
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def n_bits(source: Path, path: Path) -> None:
    """Writes a graph with block-wise 8-bit weights and activations quantised per token (MatMulNBits)."""
    # the import switches on the logs of other libraries
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer as Quantiser  # noqa: PLC0415

    quantiser = Quantiser(str(source), bits=8, is_symmetric=True, accuracy_level=4)
    quantiser.process()
    quantiser.model.save_model_to_file(str(path))


def own(batches: list[Features], scheme: Scheme, source: Path, path: Path) -> None:
    """Writes a graph quantised by attune."""
    onnx.save(to_int8(onnx.load(source), batches, scheme), path)


def schemes(chosen: Scheme, batches: list[Features]) -> dict[str, Callable[[Path, Path], object]]:
    """Returns the quantisers by name of their scheme; each reads the fp32 graph and writes its own."""
    ours = partial(own, batches)
    dynamic = partial(quantize_dynamic, per_channel=True, op_types_to_quantize=["MatMul", "Gather"])
    return {
        "ONNX fp32": lambda source, path: path.write_bytes(source.read_bytes()),
        "dynamic, one scale per matrix": quantize_dynamic,
        "dynamic per channel": dynamic,
        "fixed ranges, no smoothing": partial(ours, replace(chosen, smoothing=0.0)),
        **{f"fixed, smoothing {share}": partial(ours, replace(chosen, smoothing=share)) for share in (0.5, 0.7, 0.9)},
        "fixed, smoothed everywhere": partial(ours, replace(chosen, unsmoothed=())),
        "fixed, FFN's input unsmoothed": partial(ours, replace(chosen, unsmoothed=("*intermediate*", "*attention*"))),
        "fixed, FFN's output in fp32": partial(ours, replace(chosen, keep_fp32=("*[0-9].output.dense/*",))),
        "fixed, 7-bit weights": partial(ours, replace(chosen, reduce_range=True)),
        "MatMulNBits, 8 bit": n_bits,
        "chosen": partial(ours, chosen),
    }


def task(n: int) -> tuple[list[str], list[str], Int64]:
    """Returns dev queries, n documents (or all answers, if more) and judgments (query row, document row, relevance)."""
    corpus, qrels = read(DATA / "prepared/corpus.parquet", CORPUS), read(DATA / "splits/dev/qrels.parquet", QRELS)
    answers = corpus.join(qrels, on="document_id", how="semi", maintain_order="left")
    others = corpus.join(qrels, on="document_id", how="anti", maintain_order="left")
    others = others.sample(min(max(n - answers.height, 0), others.height), seed=13)
    documents = pl.concat([answers, others]).with_row_index("document_row")
    queries = read(DATA / "splits/dev/queries.parquet", SPLIT_QUERIES).with_row_index("query_row")
    rows = qrels.join(queries, on="query_id").join(documents, on="document_id")
    judgments = rows.select(pl.col("query_row", "document_row", "relevance").cast(pl.Int64)).to_numpy()
    return queries["text"].to_list(), full_texts(documents), judgments


def cpu(encode: Encode) -> Seconds:
    """Returns a function that encodes texts and returns the CPU-seconds of this process."""

    def seconds(texts: Sequence[str]) -> float:
        start = time.process_time()
        encode(texts)
        return time.process_time() - start

    return seconds


def speeds(systems: dict[str, Seconds], texts: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Measures alternately; returns texts per CPU-second, and minimum, median, maximum speed relative to the first."""
    all_rounds = np.array([[seconds(texts) for seconds in systems.values()] for _ in range(rounds + 1)])
    measured = all_rounds[1:]  # the first round is the warm-up
    ratios = np.quantile(measured[:, :1] / measured, (0, 0.5, 1), axis=0)
    rates = len(texts) / np.median(measured, axis=0)
    return dict(zip(systems, np.vstack([rates, ratios]).T.tolist(), strict=True))


class Quality:
    """Embeddings of a graph, their nDCG@10 on dev, and the cosine of texts alone to texts in a batch."""

    def __init__(self, embedder: Embedder, dev: tuple[list[str], list[str], Int64]) -> None:
        queries, documents, judgments = dev
        document_vectors, query_vectors = embedder.encode_document(documents), embedder.encode_query(queries)
        self.embeddings = np.vstack([query_vectors, document_vectors])
        self.ndcg = measure(top_k(query_vectors, document_vectors, 10, 1)[1], judgments)["ndcg@10"].mean()
        alone = embedder.encode_document(documents[:128], batch_size=1)
        self.alone = (alone * embedder.encode_document(documents[:128])).sum(axis=1).mean()

    def cells(self, fp32: "Quality") -> list[str]:
        """Returns mean cosine to fp32, mean cosine of a text alone to itself in a batch of 32, and the nDCG@10 kept."""
        cosine = (self.embeddings * fp32.embeddings).sum(axis=1).mean()
        return [f"{cosine:.4f}", f"{self.alone:.5f}", f"{self.ndcg / fp32.ndcg:.4f}"]


def main() -> None:
    """Prints a row per scheme, all measured in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", metavar="SCHEME", help="schemes to measure, for example: 'ONNX fp32' chosen; default: all"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    params = load_params(ExportParams, "export", Path("params.yaml"))
    encoder, dev = load_for_export(MODEL), task(options.documents)
    description = describe(encoder, MODEL)
    systems = {"torch fp32": cpu(lambda texts: encoder.encode(texts, show_progress_bar=False))}
    quality: dict[str, list[str]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_settings(MODEL, folder, description, torch_weights=False)
        write_json(folder / MANIFEST, build_manifest(description, MODEL, {}, {}))
        export_graph(encoder, folder / FP32, params.opset)
        triplets = read(DATA / "mined/r1/triplets.parquet", TRIPLETS)
        corpus = read(DATA / "prepared/corpus.parquet", CORPUS)
        texts = calibration_texts(triplets, corpus, params.int8_calibration_rows, description)
        batches = list(single_texts(encoder, texts, onnx.load(folder / FP32)))
        fp32 = Quality(Embedder(folder, FP32, options.threads), dev)
        systems |= stack.enter_context(fastembed(folder, description.dim, options.threads))
        for scheme, make in schemes(params.scheme(), batches).items():
            if options.only and scheme not in options.only:
                continue
            logging.disable(logging.WARNING)  # the quantisers log every node
            make(folder / FP32, folder / SHOWN)
            embedder = Embedder(folder, SHOWN, options.threads)
            systems[scheme] = cpu(embedder.encode)
            size = f"{(folder / SHOWN).stat().st_size / 1e6:.1f}"
            quality[scheme] = [size, *Quality(embedder, dev).cells(fp32)]
        print(f"{len(dev[1])} documents, {len(dev[0])} dev queries, {options.threads} thread(s)")
        print("| scheme | texts per CPU-second | times torch | MB | cosine to fp32 | alone to batch | nDCG@10 kept |")
        print("|---|---:|---:|---:|---:|---:|---:|")
        for system, (rate, least, median, most) in speeds(systems, dev[1][:96], options.rounds).items():
            times = f"{median:.2f} ({least:.2f} to {most:.2f})"
            print(f"| {system} | {rate:.1f} | {times} | {' | '.join(quality.get(system, [''] * 4))} |")


if __name__ == "__main__":
    try:
        main()
    except (BadInput, OSError) as error:
        fail("bench", error)
