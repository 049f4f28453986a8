"""Builds the raw corpus, queries and qrels from the chosen source, in BEIR's layout.

Rows keep the order of their source (package, file, line), so rows added to one file leave the others unchanged. A
judgment of 0 marks a document that does not answer the query: the user's own hard negative.
"""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from attune.data.sources.beir import read_beir
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.generated.endpoint import Endpoint
from attune.data.sources.generated.generate import collect_documents
from attune.data.sources.generated.structure import QueryRules
from attune.data.sources.packages.collect import PackageRules, collect_packages
from attune.data.sources.pairs import read_pairs
from attune.data.sources.raw import RawData, subset, write_beir, write_objects, write_qrels, write_queries
from attune.errors import BadInput
from attune.stage import Out, Params, Receipt, run

Name = Annotated[str, Field(min_length=1)]


class CollectParams(Params):
    """Source of the data, its size, and the filters of queries."""

    source: Literal["packages", "beir", "pairs", "triplets", "documents"]
    path: str
    max_documents: int = Field(ge=0)
    columns: ColumnNames
    min_query_words: int = Field(ge=1)
    max_query_words: int = Field(ge=1)
    max_documents_per_query: int = Field(ge=1)
    packages: list[Name] = Field(min_length=1)
    internal: list[Name]
    max_classes_per_method: int = Field(ge=0)
    max_document_characters: int = Field(ge=100)
    queries: Literal["structure", "endpoint"]
    endpoint: Endpoint


def read_source(params: CollectParams) -> RawData:
    """Reads the source that the parameters name.

    Raises:
        BadInput: the source is missing or malformed, or no document with a query remains.
    """
    if params.source != "packages" and not params.path:
        raise BadInput("params.yaml: collect.path is empty; name the file or folder that holds your data")
    raw = READERS[params.source](params)
    if params.max_documents:
        raw = subset(raw, params.max_documents)
    empty = [split for split, qrels in raw.qrels.items() if params.max_documents and not qrels]
    if raw.queries and empty:
        raise BadInput(
            f"collect: max_documents {params.max_documents} leaves no query of {empty[0]}; raise it, or set 0 for all"
        )
    if not raw.queries:
        dropped = ", ".join(f"{reason} {n}" for reason, n in raw.dropped.most_common(3))
        raise BadInput(f"collect: no document with a query is left (most dropped: {dropped}); loosen section collect")
    return raw


def _packages(params: CollectParams) -> RawData:
    rules = {field.name: getattr(params, field.name) for field in fields(PackageRules)}
    return collect_packages(params.packages, PackageRules(**rules))


def _beir(params: CollectParams) -> RawData:
    return read_beir(Path(params.path), params.columns.group, params.columns.stratum)


def _pairs(params: CollectParams) -> RawData:
    if params.source == "triplets" and not params.columns.negatives:
        raise BadInput(
            "params.yaml: collect.columns.negatives is empty; name the columns, or set collect.source: pairs"
        )
    return read_pairs(Path(params.path), params.columns)


def _documents(params: CollectParams) -> RawData:
    rules = QueryRules(params.min_query_words, params.max_query_words, params.max_documents_per_query)
    path, limit = Path(params.path), params.max_documents
    return collect_documents(path, params.columns, params.queries, rules, params.endpoint, limit)


READERS: dict[str, Callable[[CollectParams], RawData]] = {
    "packages": _packages,
    "beir": _beir,
    "pairs": _pairs,
    "triplets": _pairs,
    "documents": _documents,
}


def write_raw(raw: RawData, out: Path) -> None:
    """Writes raw data in BEIR's layout, paraphrases and other forms of documents in files of their own."""
    write_beir(raw.documents, raw.queries, raw.qrels, out)
    # beside qrels/, which holds splits only
    write_queries(out / "paraphrases.jsonl", raw.paraphrases)
    write_qrels(out / "paraphrases.tsv", raw.paraphrase_qrels)
    (out / "as_indexed").mkdir()
    for file, forms in ((out / "forms.jsonl", raw.forms), (out / "as_indexed" / "forms.jsonl", raw.indexed)):
        write_objects(file, ({"_id": document_id, "text": text} for document_id, text in forms.items()))


def collect(params: CollectParams, out: Out) -> Receipt:
    """Builds the raw corpus, queries and qrels from the chosen source."""
    raw = read_source(params)
    write_raw(raw, out)
    return _receipt(params.source, raw)


def _receipt(source: str, raw: RawData) -> Receipt:
    grades = [qrel.relevance for qrels in raw.qrels.values() for qrel in qrels]
    return {
        "source": source,
        "n_documents": len(raw.documents),
        "n_queries": len(raw.queries),
        "n_qrels": len(grades) - grades.count(0),
        "n_negatives": grades.count(0),
        "n_paraphrases": len(raw.paraphrases),
        "n_forms": len(raw.forms),
        **{f"n_dropped_{reason}": n for reason, n in sorted(raw.dropped.items())},
        **raw.facts,
    }


if __name__ == "__main__":
    run(collect)
