"""Writes the pipeline's outputs that the demo reads: tiny encoders, seven documents, three test queries."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
from prepared_tables import write_corpus
from shipped_params import PANEL
from static_folders import write_static

from attune.encoding.served import Served
from attune.encoding.served_folder import write_description
from attune.evaluation.scoring.measures import MEASURES
from attune.export.adapter_folder import write_adapter_folder
from attune.export.query_map import QueryMap
from attune.export.static_folder import ROUTER
from attune.runtime import Embedder
from attune.runtime.manifest import read_manifest
from attune.stage import all_params, load_params
from attune.tables import CORPUS, QRELS, SPLIT_QUERIES, full_texts, scores_columns, write

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title = 'owned'\"> & <b>bold</b>"
DOCUMENTS = {
    "d0": ("stack arrays", "def stack(arrays): join vertical rows"),
    "d1": ("sort a table", "def sort(table): rows in ascending order"),
    "d2": ("<i>hostile</i>", HOSTILE),
    "d3": ("", "a document without a title: mean of the column"),
    "d4": ("fourier transform", "signal and frequency of a wave"),
    "d5": ("shortest path", "graph nodes and edges, nearest neighbor"),
    "d6": ("matrix inverse", "solve a linear system of rows"),
}
# text, nDCG@10 of base, nDCG@10 of tuned: one query better, one worse, one unchanged
QUERIES = {"q0": ("stack rows", 0.5, 1.0), "q1": ("sort rows & <columns>", 1.0, 0.25), "q2": ("graph", 1.0, 1.0)}
ANSWERS = {"q0": "d0", "q1": "d1", "q2": "d5"}


def finished_pipeline(folder: Path, base: Path, tuned: Path) -> Path:
    """Writes the outputs, with embeddings by two exported encoders; returns the folder."""
    rows = [(id_, title, text, id_, id_) for id_, (title, text) in DOCUMENTS.items()]
    corpus = pl.DataFrame(rows, schema=dict(CORPUS), orient="row")
    write_corpus(corpus, folder / "data/prepared")
    queries = [(id_, text, id_, id_, "", "") for id_, (text, _, _) in QUERIES.items()]
    test = folder / "data/splits/test"
    write(pl.DataFrame(queries, dict(SPLIT_QUERIES), orient="row"), test / "queries.parquet", SPLIT_QUERIES)
    judged = [(query_id, document_id, 1) for query_id, document_id in ANSWERS.items()] + [("q0", "d6", 0)]
    write(pl.DataFrame(judged, dict(QRELS), orient="row"), test / "qrels.parquet", QRELS)
    columns = scores_columns(MEASURES)
    for column, system in ((1, "base"), (2, "tuned")):
        scores = [(id_, "test", *([query[column]] * len(MEASURES))) for id_, query in QUERIES.items()]
        scores.append(("of train", "train", *([1.0 - column] * len(MEASURES))))
        frame = pl.DataFrame(scores, dict(columns), orient="row")
        write(frame, folder / f"data/runs/{system}/scores.parquet", columns)
    (folder / "models").mkdir()
    shutil.copytree(base, folder / "models/base_exported")
    shutil.copytree(tuned, folder / "models/onnx")
    encoders = {"base": Embedder(base), "tuned": Embedder(tuned)}
    for system, encoder in encoders.items():
        (folder / "data/embeddings" / system).mkdir(parents=True)
        np.save(folder / "data/embeddings" / system / "corpus.npy", encoder.encode_document(full_texts(corpus)))
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), folder)
    return folder


def with_static(folder: Path) -> Path:
    """Adds a static encoder with random token vectors to the released folder of a pipeline, as stage release does."""
    scratch = folder / "scratch-static"
    write_static(folder / "models/onnx", scratch)
    shutil.copytree(scratch, folder / "models/onnx/static", ignore=shutil.ignore_patterns(ROUTER))
    return folder


def served_pipeline(folder: Path, exported: Path, url: str) -> Path:
    """Writes the outputs of a pipeline whose base is an exported encoder behind an endpoint, which tuned repeats.

    Its query adapter turns each vector's numbers by one place; scores of the adapter are those of QUERIES for tuned.
    """
    finished_pipeline(folder, exported, exported)
    fields = all_params(folder / "params.yaml")["base"]["endpoint"] | {
        "url": url,
        "cache": str(folder / "data/vectors"),
    }
    dim = read_manifest(exported).dim
    settings = {"model": "tuned", "prompts": {}, "max_length": 64, "dim": dim}
    for name in ("base_exported", "onnx"):
        shutil.rmtree(folder / "models" / name)
    base, graphs = folder / "models/base", folder / "models/base_exported"
    write_description(Served.model_validate(settings | {"endpoint": fields}), "CC0", base, graphs)
    shutil.copytree(graphs, folder / "models/onnx")
    turned = QueryMap(matrix=np.roll(np.eye(dim, dtype=np.float32), 1, axis=0))
    write_adapter_folder(graphs, turned, 18, {"is_identity": False}, folder / "models/adapter")
    shutil.copytree(folder / "data/runs/tuned", folder / "data/runs/adapter")
    shutil.copytree(folder / "data/runs/base", folder / "data/runs/tuned", dirs_exist_ok=True)
    return folder


@contextmanager
def served(project: Path) -> Iterator[str]:
    """Serves the demo of a project in a thread, with the functions of `attune demo`; yields its address."""
    from attune.cli.demo.app import address, listen, load_application, server
    from attune.cli.demo.comparison import DemoParams

    params = load_params(DemoParams, "demo", project / "params.yaml")
    running = server(load_application(project, params))
    with listen(0) as listening:
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        try:
            yield address(listening)
        finally:
            running.should_exit = True
            thread.join(timeout=300)
    assert not thread.is_alive()
