"""Fits a bridge on the documents that an old index and a sample of a new one share, and writes the mapped index.

Where the project's pipeline has run, dev says what the bridge costs: the share of tuned's gain over base that tuned
queries keep over the mapped vectors, on the documents of the project that the old index holds.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from attune.cli.bridge.interface import Bridged
from attune.errors import BadInput
from attune.evaluation.bridge import Bridge, Kept, fit_bridge, kept_gain
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.drift_verdict import DriftParams
from attune.evaluation.scoring.judgments import load_split
from attune.retrieval.passages import read_passages
from attune.retrieval.vectors import load_embeddings
from attune.runtime import folders, indexes
from attune.runtime.arrays import Float32
from attune.runtime.search import IDS, INDEX, PASSAGES, REMEDY, Search
from attune.stage import load_params
from attune.tables import CORPUS, read

SAME = 0.99  # least mean cosine of an index's vectors to the base's, which int8 storage keeps


class Index(NamedTuple):
    """Vectors of a saved index, (n, dim), their documents' ids, and the fingerprint of their encoder."""

    vectors: Float32
    ids: list[str]
    encoder: str


def read_index(folder: Path) -> Index:
    """Reads a folder that `Search.save` wrote, which `Search.load` checks.

    Raises:
        BadInput: it is none, holds passages, or keeps its vectors in a form that cannot be read back.
    """
    encoder = Search.load(folder).encoder
    if (folder / PASSAGES).exists():
        raise BadInput(f"{folder}: documents in passages, expected one vector per document; build such an index")
    index = indexes.read(folder / INDEX)
    try:
        vectors = np.asarray(index.reconstruct_n(0, index.ntotal), dtype=np.float32)
    except RuntimeError as error:  # FAISS's own
        what = f"its vectors cannot be read back ({indexes.reason(error)})"
        raise BadInput(f"{folder}: {what}; build it with factory='flat'") from None
    return Index(vectors, folders.read_json(folder, IDS, _any, "ids", REMEDY, REMEDY, max_bytes=None), encoder)


def _any(place: str, value: object) -> None:
    """Takes any content: `Search.load` has checked it."""


def bridge(old: Path, sample: Path, out: Path | None, root: Path) -> Bridged:
    """Fits a bridge, lets dev judge it, and writes the mapped index.

    Args:
        old: saved index of all documents by the old encoder.
        sample: saved index of some of them by the new encoder.
        out: folder for the mapped index, which queries of the new encoder search; None writes none.
        root: of the project, whose dev split judges.

    Raises:
        BadInput: an index cannot be used, both are of one encoder, or they share too few documents.
    """
    before, after = read_index(old), read_index(sample)
    if before.encoder and before.encoder == after.encoder:
        raise BadInput(f"{sample}: embedded by the encoder of {old}, expected another; embed it with the new one")
    row_of = {id_: row for row, id_ in enumerate(before.ids)}
    shared = [(row_of[id_], row) for row, id_ in enumerate(after.ids) if id_ in row_of]
    rows, rows_after = np.array(shared, dtype=np.int64).reshape(-1, 2).T
    fitted = fit_bridge(before.vectors[rows], after.vectors[rows_after])
    kept = judged(before, fitted, root)
    if out is not None:
        mapped = fitted(before.vectors)
        mapped[rows] = after.vectors[rows_after]  # what is embedded again needs no map
        Search.build(mapped, before.ids, after.encoder).save(out)
    of_gain = (None, None, None) if isinstance(kept, str) else (kept.share, kept.low, kept.high)
    sentence = kept if isinstance(kept, str) else f"every document mapped, {kept.words}"
    place = None if out is None else str(out)
    return Bridged(len(rows), float(fitted.penalty), *of_gain, sentence, place, len(before.ids))


def judged(index: Index, fitted: Bridge, root: Path) -> Kept | str:
    """Returns what dev says of the bridge, or in words why it cannot."""
    embeddings, prepared = root / "data/embeddings", root / "data/prepared"
    if not all((embeddings / system).is_dir() for system in ("base", "tuned")):
        return "dev cannot judge: the pipeline has not run here (data/embeddings)"
    corpus = read(prepared / "corpus.parquet", CORPUS)
    if read_passages(prepared, corpus).is_cut:
        return "dev cannot judge: the project reads documents in passages, and the index does not"
    dev = load_split(root / "data/splits/dev", corpus)
    files = [embeddings / system / "corpus.npy" for system in ("base", "tuned")]
    base, tuned = (load_embeddings(file, corpus.height, "the corpus") for file in files)
    row_of = {id_: row for row, id_ in enumerate(index.ids)}
    n_held = sum(id_ in row_of for id_ in corpus["document_id"])
    if n_held < corpus.height:
        return f"dev cannot judge: the old index holds {n_held:,} of the {corpus.height:,} documents of the project"
    own = index.vectors[[row_of[id_] for id_ in corpus["document_id"]]]
    if own.shape != base.shape or float((own * base).sum(axis=1).mean()) < SAME:
        return "dev cannot judge: the old index is not of the project's base (data/embeddings/base)"
    queries = [load_embeddings(file.with_name("dev.npy"), len(dev.texts), "the dev queries") for file in files]
    threads = load_params(DriftParams, "drift", root / "params.yaml").machine.threads
    confidence = load_params(GateParams, "gate", root / "params.yaml").confidence
    return kept_gain(dev, (queries[0], queries[1]), (own, tuned), np.arange(len(own)), fitted, confidence, threads)
