"""A project in which stages collect, prepare and split have run: word pairs, queries in clusters of two."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
from miniature import change
from prepared_tables import write_corpus
from shipped_params import write_shipped

from attune.tables import CORPUS, DOCUMENT_IDS, OWN_TEXTS, QRELS, SPLIT_QUERIES, write

WORDS = "array graph matrix mean sum sort tree edge node vector signal table axis row".split()
PAIRS = [(one, other) for one in WORDS for other in WORDS if one < other]
IDS = [f"d{place:03}" for place in range(len(PAIRS))]
SPLITS = {"train": PAIRS[:4], "dev": PAIRS[4:24], "test": PAIRS[24:44], "paraphrases": []}
ONE_THREAD = {"machine": {"threads": 1, "precision": "fp32"}, "evaluate": {"bm25_language": ""}}


def write_project(root: Path, base: Path, sha256: dict[str, str], max_length: int) -> Path:
    """Writes parameters that name a base encoder's folder, and the tables of documents and splits."""
    root.mkdir(exist_ok=True)
    write_shipped(root)
    named = {"model": "tiny", "folder": str(base), "sha256": sha256, "max_length": max_length, "wheels": {}}
    change(root, ONE_THREAD | {"base": named})
    texts = [f"{one} {other} of the data" for one, other in PAIRS]
    columns = {"document_id": IDS, "title": [""] * len(IDS), "text": texts, "duplicate_of": IDS, "cluster_id": IDS}
    write_corpus(pl.DataFrame(columns, schema=CORPUS), root / "data/prepared")
    for split, pairs in SPLITS.items():
        write_split(root / "data/splits" / split, pairs)
    return root


def write_split(folder: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """Writes a query for each pair, whose document is that of the pair."""
    names = [f"{folder.name}{place:02}" for place in range(len(pairs))]
    columns = {"query_id": names, "text": [f"Find {other} and {one}" for one, other in pairs]}
    columns["cluster_id"] = [f"c{folder.name}{place // 2}" for place in range(len(pairs))]
    queries = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    rest = {name: pl.lit("") for name in SPLIT_QUERIES if name not in columns}
    write(queries.with_columns(**rest), folder / "queries.parquet", SPLIT_QUERIES)
    write(pl.DataFrame(schema=OWN_TEXTS), folder / "own_texts.parquet", OWN_TEXTS)
    judged = [(name, IDS[PAIRS.index(pair)], 1) for name, pair in zip(names, pairs, strict=True)]
    write(pl.DataFrame(judged, schema=QRELS, orient="row"), folder / "qrels.parquet", QRELS)
    own = [document for _, document, _ in judged]
    write(pl.DataFrame({"document_id": own}, schema=DOCUMENT_IDS), folder / "documents.parquet", DOCUMENT_IDS)
