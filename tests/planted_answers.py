"""Builds a project in which it is known which mined negatives are answers: some answers are left unjudged."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from mining_inputs import mine_params, unit
from prepared_tables import write_corpus
from shipped_params import PANEL

from attune.cli.judge.sheet import NO, YES, Row, write_sheet
from attune.stage import call
from attune.stages.mine import mine
from attune.tables import CORPUS, DOCUMENT_IDS, NEGATIVES, OWN_TEXTS, QRELS, SPLIT_QUERIES, TRIPLETS, read, write

ROOT = Path(__file__).resolve().parent.parent
DIM, N_FAR = 64, 2


@dataclass(frozen=True)
class Planted:
    """A project after stage mine.

    Attributes:
        folder: its root.
        answers: all pairs of a query and a document that answers it, judged or not.
        receipt: of stage mine.
    """

    folder: Path
    answers: frozenset[tuple[str, str]]
    receipt: dict[str, float | None]

    def truth(self) -> float:
        """Returns the share of answers among the negatives of train queries, each pair once."""
        triplets = read(self.folder / "data/mined/r1/triplets.parquet", TRIPLETS).explode("negative_ids")
        pairs = set(triplets.select("query_id", "negative_ids").rows())
        return len(pairs & self.answers) / len(pairs)

    def judge(self, row: Row) -> str:
        """Returns the true judgement of a row."""
        return YES if row.key in self.answers else NO


def planted(folder: Path, share: float, n_judged: int = 2, n_queries: int = 400, n_sample: int = 200) -> Planted:
    """Runs stage mine on queries of which a share has unjudged answers that no rule can tell from negatives.

    There is one for each judged answer, so that every row of the query has one as its negative. They score nine tenths
    of the lowest judged one, or little less: the nearest candidates that mining allows. Documents that answer nothing
    score below them.

    Args:
        folder: of the project.
        share: of the queries.
        n_judged: judged answers per query.
        n_queries: number of queries.
        n_sample: negatives drawn to be judged.
    """
    random = np.random.default_rng([int(100 * share), n_judged])
    queries = unit(random.normal(size=(n_queries, DIM)))
    has_unjudged = random.permutation(n_queries) < round(share * n_queries)
    rows: list[tuple[int, float, str]] = []  # query, cosine, kind
    for query in range(n_queries):
        judged = random.uniform(0.7, 0.8, n_judged)
        rows += [(query, cosine, "judged") for cosine in judged]
        nearest = 0.9 * judged.min() - 0.01 * np.arange(n_judged * has_unjudged[query])
        rows += [(query, cosine, "unjudged") for cosine in nearest]
        rows += [(query, cosine, "far") for cosine in random.uniform(0.4, 0.5, N_FAR)]
    vectors = np.concatenate([_at(queries[query], cosine, random) for query, cosine, _ in rows])
    pairs = [(f"q{query:03}", f"d{row:04}", kind) for row, (query, _, kind) in enumerate(rows)]
    write_inputs(folder, queries, vectors, [(query, document) for query, document, kind in pairs if kind == "judged"])
    params = mine_params(n_negatives=1, depth=20, max_share_of_positive=0.95, n_sample=n_sample)
    inputs = {"prepared": folder / "prepared", "train": folder / "train", "embeddings": folder / "embeddings"}
    call(mine, params, folder / "metrics/mine.json", **inputs, rerankers=folder, out=folder / "data/mined/r1")
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copy(PANEL.with_name(name), folder / name)
    answers = frozenset((query, document) for query, document, kind in pairs if kind != "far")
    return Planted(folder, answers, json.loads((folder / "metrics/mine.json").read_text()))


def _at(query: np.ndarray, cosine: float, random: np.random.Generator) -> np.ndarray:
    """Returns a unit vector with this cosine to the query, (1, dim)."""
    aside = random.normal(size=DIM)
    aside -= (aside @ query) * query
    return unit((cosine * query + np.sqrt(1 - cosine**2) * aside / np.linalg.norm(aside))[None])


def write_inputs(folder: Path, queries: np.ndarray, vectors: np.ndarray, judged: list[tuple[str, str]]) -> None:
    """Writes what stage mine reads: every document is one of train."""
    ids, query_ids = [f"d{row:04}" for row in range(len(vectors))], [f"q{row:03}" for row in range(len(queries))]
    texts = [f'Document {id_}, with "marks",\n\nlines; and a tab\t.{" More." * 20}' for id_ in ids]
    columns = {"document_id": ids, "title": ids, "text": texts, "duplicate_of": ids, "cluster_id": ids}
    corpus = pl.DataFrame(columns, schema=CORPUS)
    write_corpus(corpus, folder / "prepared")
    write(corpus.select("document_id"), folder / "train/documents.parquet", DOCUMENT_IDS)
    table = pl.DataFrame([(id_, f"query {id_}", id_, id_, "", "") for id_ in query_ids], SPLIT_QUERIES, orient="row")
    write(table, folder / "train/queries.parquet", SPLIT_QUERIES)
    qrels = pl.DataFrame([(*pair, 1) for pair in judged], QRELS, orient="row")
    write(qrels, folder / "train/qrels.parquet", QRELS)
    write(pl.DataFrame(schema=NEGATIVES), folder / "train/negatives.parquet", NEGATIVES)
    write(pl.DataFrame(schema=OWN_TEXTS), folder / "train/own_texts.parquet", OWN_TEXTS)
    (folder / "embeddings").mkdir()
    np.save(folder / "embeddings/corpus.npy", vectors)
    np.save(folder / "embeddings/train.npy", queries)


def fill(sheet: Path, judge: Callable[[Row], str], rows: list[Row], n: int | None = None, name: str = "") -> None:
    """Writes a person's judgements of the first n rows into a sheet, as a spreadsheet program saves it."""
    n = len(rows) if n is None else n
    write_sheet([replace(row, is_answer=judge(row), judged_by=name) for row in rows[:n]] + rows[n:], sheet)
