"""Small data for stage near_domain, the stage run on them, and the tasks that it leaves."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from attune.data.sources.beir import read_beir
from attune.data.sources.raw import RawData
from attune.stage import Receipt
from attune.stages.near_domain import NearDomainParams, near_domain
from attune.tables import (
    CORPUS,
    DOCUMENT_FORMS,
    DOCUMENT_IDS,
    OWN_TEXTS,
    PARAPHRASES,
    QRELS,
    SPLIT_QUERIES,
    SPLITS,
    Columns,
    write,
)

N = 12  # documents of each split; document train3 answers query q-train3
DOCUMENTS = {f"{name}{n}": f"def {name}{n}(x): return x" for name in SPLITS for n in range(N)}
QUESTIONS = {f"q-{id_}": f"Returns the value number {id_} of everything that counts" for id_ in DOCUMENTS}
FORMS = {id_: f'{text} """Gives some {id_} back"""' for id_, text in DOCUMENTS.items() if not id_.endswith("1")}


def table(rows: Sequence[tuple[object, ...]], columns: Columns) -> pl.DataFrame:
    return pl.DataFrame(rows, dict(columns), orient="row")


def write_split(
    folder: Path, texts: dict[str, str], answers: dict[str, list[str]], own_texts: Sequence[tuple[str, str]] = ()
) -> None:
    rows = [(id_, text, id_, id_, "", "") for id_, text in texts.items()]
    write(table(rows, SPLIT_QUERIES), folder / "queries.parquet", SPLIT_QUERIES)
    judged = [(query, document, 2) for query, ids in answers.items() for document in ids]
    write(table(judged, QRELS), folder / "qrels.parquet", QRELS)
    write(table(own_texts, OWN_TEXTS), folder / "own_texts.parquet", OWN_TEXTS)


def run_stage(
    root: Path,
    n_documents: int = 20,
    forms: dict[str, str] = FORMS,
    paraphrases: dict[str, tuple[str, list[str]]] | None = None,
    told_of_test: dict[str, tuple[str, list[str]]] | None = None,
    documents: dict[str, set[str]] | None = None,
    own_texts: Sequence[tuple[str, str]] = (),
) -> Receipt:
    """Runs the stage on one document and one query each; returns its receipt."""
    prepared, splits = root / "prepared", root / "splits"
    corpus = [(id_, f"pkg.{id_}", text, id_, id_) for id_, text in DOCUMENTS.items()]
    write(table(corpus, CORPUS), prepared / "corpus.parquet", CORPUS)
    write(table(list(forms.items()), DOCUMENT_FORMS), prepared / "indexed.parquet", DOCUMENT_FORMS)
    rows = [(id_, text, ids) for id_, (text, ids) in (paraphrases or {}).items()]
    write(table(rows, PARAPHRASES), prepared / "paraphrases.parquet", PARAPHRASES)
    for name in SPLITS:
        own = (documents or {}).get(name, {id_ for id_ in DOCUMENTS if id_.startswith(name)})
        write(table([(id_,) for id_ in sorted(own)], DOCUMENT_IDS), splits / name / "documents.parquet", DOCUMENT_IDS)
        texts = {id_: text for id_, text in QUESTIONS.items() if id_.startswith(f"q-{name}")}
        of_split = [row for row in own_texts if row[0] in texts]
        write_split(splits / name, texts, {id_: [id_.removeprefix("q-")] for id_ in texts}, of_split)
    told = told_of_test or {}
    write_split(
        splits / "paraphrases", {i: text for i, (text, _) in told.items()}, {i: ids for i, (_, ids) in told.items()}
    )
    return near_domain(NearDomainParams(n_documents=n_documents), prepared, splits, 1, 0.8, root / "out")


def read_task(root: Path, split: str, name: str) -> tuple[dict[str, str], dict[str, str], RawData]:
    """Returns the queries and documents of a task by id, and all of it."""
    raw = read_beir(root / "out" / split / name)
    return {q.query_id: q.text for q in raw.queries}, {d.document_id: d.text for d in raw.documents}, raw
