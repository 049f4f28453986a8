"""Builds the raw corpus, queries and qrels from the chosen source, in BEIR's layout.

Rows keep the order of their source (package, file, line): what is added to one file leaves the other rows as they were.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from attune.errors import BadInput
from attune.sources.beir import read_beir
from attune.sources.packages import PackageRules, collect_packages
from attune.sources.raw import RawData, subset
from attune.stage import Out, Params, Receipt, run

Name = Annotated[str, Field(min_length=1)]


class CollectParams(Params):
    """Where the data comes from, how much of it is taken and, for packages, what is good enough."""

    source: Literal["packages", "beir"]
    max_documents: int = Field(ge=0)
    path: str
    packages: list[Name] = Field(min_length=1)
    internal: list[Name]
    min_query_words: int = Field(ge=1)
    max_query_words: int = Field(ge=1)
    max_documents_per_query: int = Field(ge=1)
    max_classes_per_method: int = Field(ge=0)
    max_document_characters: int = Field(ge=100)


def read_source(params: CollectParams) -> RawData:
    """The raw data of the source that the parameters name.

    Raises:
        BadInput: the source is not there, is malformed, or no document with a query is left of it.
    """
    if params.source == "beir":
        if not params.path:
            raise BadInput("params.yaml: collect.path is empty; name the folder that holds corpus.jsonl")
        raw = read_beir(Path(params.path))
    else:
        rules = {field.name: getattr(params, field.name) for field in fields(PackageRules)}
        raw = collect_packages(params.packages, PackageRules(**rules))
    if params.max_documents:
        raw = subset(raw, params.max_documents)
    if not raw.queries:
        left_out = ", ".join(f"{reason} {n}" for reason, n in raw.dropped.most_common(3))
        raise BadInput(
            f"collect: no document with a query is left (most left out: {left_out}); loosen collect in params.yaml"
        )
    return raw


def collect(params: CollectParams, out: Out) -> Receipt:
    """Builds the raw corpus, queries and qrels from the chosen source."""
    raw = read_source(params)
    (out / "qrels").mkdir(parents=True)
    _write_lines(out / "corpus.jsonl", (_json(_id=i, title=title, text=text) for i, title, text in raw.documents))
    _write_lines(out / "queries.jsonl", (_json(_id=i, text=text) for i, text in raw.queries))
    for split, qrels in raw.qrels.items():
        rows = ("\t".join(map(str, qrel)) for qrel in qrels)
        _write_lines(out / "qrels" / f"{split}.tsv", ["query-id\tcorpus-id\tscore", *rows])
    return _receipt(params.source, raw)


def _json(**record: str) -> str:
    return json.dumps(record, ensure_ascii=False)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _receipt(source: str, raw: RawData) -> Receipt:
    return {
        "source": source,
        "n_documents": len(raw.documents),
        "n_queries": len(raw.queries),
        "n_qrels": sum(map(len, raw.qrels.values())),
        **{f"n_dropped_{reason}": n for reason, n in sorted(raw.dropped.items())},
        **raw.facts,
    }


if __name__ == "__main__":
    run(collect)
