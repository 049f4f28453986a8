"""Texts to encode and train on (short, code, long), and copies of the encoder with another maximum length."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attune.errors import BadInput
from attune.tables import CLUSTERED_QUERIES, CORPUS, QRELS, full_texts, read

ROOT = Path(__file__).resolve().parents[1]
DATASETS = Path(os.environ.get("ATTUNE_DATASETS", ROOT / "../shared/datasets"))


@dataclass(frozen=True)
class Kind:
    """A kind of text.

    Attributes:
        name: short, code or long.
        source: folder of $ATTUNE_DATASETS; '' for the pipeline's own data.
        max_length: maximum number of tokens in encoding; 0 for the encoder's own.
        n_documents: documents encoded per round; plain fp32 takes 3 to 5 seconds on 2 cores.
        train_length: maximum number of tokens in training.
        turn: training steps per round.
    """

    name: str
    source: str
    max_length: int
    n_documents: int
    train_length: int
    turn: int


KINDS = {
    kind.name: kind
    for kind in (
        Kind("short", "nl2bash", 0, 768, 64, 6),
        Kind("code", "", 0, 432, 96, 2),
        Kind("long", "medquad", 256, 144, 256, 2),
    )
}


def present(kind: Kind) -> str:
    """Returns the reason why these texts are missing; '' if they are present."""
    if kind.source:
        folder = DATASETS / kind.source
        return "" if folder.is_dir() else f"{kind.name} texts: $ATTUNE_DATASETS has no {kind.source}"
    return "" if _corpus().is_file() else f"{kind.name} texts: no data/prepared/corpus.parquet; run `make repro`"


def documents(kind: Kind, n: int, seed: int = 7) -> list[str]:
    """Returns n documents, title first, sampled without replacement in random order."""
    texts = list(_documents(kind).values()) if kind.source else full_texts(read(_corpus(), CORPUS))
    return [texts[row] for row in np.random.default_rng(seed).permutation(len(texts))[:n]]


def pairs(kind: Kind, n: int, seed: int = 7) -> tuple[list[str], list[str]]:
    """Returns n distinct queries and, for each, a document that answers it.

    Raises:
        BadInput: the data has fewer queries with an answer.
    """
    texts, queries, answers = _pipeline() if not kind.source else _data_set(kind)
    query_ids = sorted(answers)
    if len(query_ids) < n:
        raise BadInput(f"{kind.name} texts: {len(query_ids)} queries, expected {n}; measure fewer steps")
    sampled = [query_ids[row] for row in np.random.default_rng(seed).permutation(len(query_ids))[:n]]
    return [queries[id_] for id_ in sampled], [texts[answers[id_]] for id_ in sampled]


def _corpus() -> Path:
    return ROOT / "data/prepared/corpus.parquet"


def _pipeline() -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Returns texts and queries of the pipeline's data by id, and an answering document id per query id."""
    corpus = read(_corpus(), CORPUS)
    prepared = _corpus().parent
    queries = dict(read(prepared / "queries.parquet", CLUSTERED_QUERIES).select("query_id", "text").iter_rows())
    answers = dict(read(prepared / "qrels.parquet", QRELS).select("query_id", "document_id").iter_rows())
    return dict(zip(corpus["document_id"], full_texts(corpus), strict=True)), queries, answers


def _data_set(kind: Kind) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Returns texts, queries and answers, as `_pipeline` does, of a data set in BEIR's layout."""
    folder = DATASETS / kind.source
    queries = {row["_id"]: row["text"] for row in _lines(folder / "queries.jsonl")}
    answers = {}
    for file in sorted((folder / "qrels").glob("*.tsv")):
        for line in file.read_text(encoding="utf-8").splitlines()[1:]:
            query_id, document_id, score = line.split("\t")
            if int(score) > 0:
                answers[query_id] = document_id
    return _documents(kind), queries, answers


def _documents(kind: Kind) -> dict[str, str]:
    rows = _lines(DATASETS / kind.source / "corpus.jsonl")
    return {row["_id"]: f"{row['title']}\n{row['text']}".strip() for row in rows}


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def encoder(folder: Path, max_length: int, copy: Path) -> Path:
    """Returns the folder of the exported encoder, or, if max_length is not 0, of a copy with this maximum length.

    Raises:
        BadInput: the folder holds no exported encoder.
    """
    if not (folder / "onnx/model.onnx").is_file():
        raise BadInput(f"{folder}: no exported encoder; run `make repro`")
    return cut(folder, max_length, copy) if max_length else folder


def cut(folder: Path, max_length: int, copy: Path) -> Path:
    """Copies an encoder and sets its maximum length in every file that states it; returns the copy.

    Raises:
        BadInput: the folder holds no encoder.
    """
    if not (folder / "modules.json").is_file():
        raise BadInput(f"{folder}: no encoder; run `make repro`")
    shutil.copytree(folder, copy)
    keys_by_file: dict[str, tuple[str, ...]] = {
        "sentence_bert_config.json": ("max_seq_length",),
        "tokenizer_config.json": ("model_max_length",),
        "manifest.json": ("max_length",),
        "tokenizer.json": ("truncation", "max_length"),
    }
    for name, keys in keys_by_file.items():
        if not (copy / name).is_file():
            continue
        content = json.loads((copy / name).read_text(encoding="utf-8"))
        inner = content
        for key in keys[:-1]:
            inner = inner[key] or {}
        inner[keys[-1]] = max_length
        (copy / name).write_text(json.dumps(content), encoding="utf-8")
    return copy
