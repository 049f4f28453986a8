"""Tables of questions and answers that grow by appended rows."""

import csv
from pathlib import Path

import miniature
from ruamel.yaml import YAML

from attune.data.sources.files.cells import ColumnNames
from attune.stage import load_params
from attune.stages.collect import CollectParams, read_source

Row = dict[str, str]


def write_table(file: Path, rows: list[Row]) -> Path:
    """Writes rows as csv; returns the file."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def columns(**names: str) -> ColumnNames:
    """Returns the columns question and answer, and others as given."""
    none = dict.fromkeys(("title", "relevance", "query_id", "document_id", "group", "stratum", "split"), "")
    return ColumnNames(query="question", document="answer", negatives=[], **(none | names))


def ordinary_rows(first: int, n: int) -> list[Row]:
    """Returns rows numbered from `first`, each unlike all others, in three products of unlike sizes."""
    asked = "cancel change find track return print pay delete extend repair".split()
    return [
        {
            "question": f"how do I {asked[i % 10]} item {i} of list {7 * i} at shop {13 * i}",
            "answer": " ".join(f"{word}{i}" for word in "open its own page then press the long button".split()),
            "product": "rare" if i % 16 == 0 else ("web", "shop")[i % 2],
        }
        for i in range(first, first + n)
    ]


def miniature_pairs(folder: Path, max_documents: int) -> list[tuple[str, str]]:
    """Returns texts of queries and documents of the miniature's kind; leaves its parameter files in the folder."""
    recipe = YAML(typ="safe").load(miniature.MINIATURE.read_text())
    miniature.write_params(folder, {"collect": recipe["collect"] | {"max_documents": max_documents}})
    raw = read_source(load_params(CollectParams, "collect", folder / "params.yaml"))
    queries = {query.query_id: query.text for query in raw.queries}
    texts = {document.document_id: document.text for document in raw.documents}
    return [(queries[qrel.query_id], texts[qrel.document_id]) for qrel in raw.qrels["all"]]
