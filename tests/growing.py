"""Tables of questions and answers that grow by appended rows, and the pipeline's first stages on them."""

import csv
import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import miniature
import polars as pl
from ruamel.yaml import YAML
from shipped_params import write_shipped

from attune.cli.repository.keys import migrated
from attune.data.sources.files.cells import ColumnNames
from attune.data.splitting.assignment import SplitParams
from attune.evaluation.checks.revision import TESTED_ON
from attune.stage import call, load_params
from attune.stages.collect import CollectParams, collect, read_source
from attune.stages.prepare import PrepareParams, prepare
from attune.stages.split import split
from attune.tables import CORPUS, SPLIT_QUERIES, read

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
    write_shipped(folder, {"collect": recipe["collect"] | {"max_documents": max_documents}})
    raw = read_source(load_params(CollectParams, "collect", folder / "params.yaml"))
    queries = {query.query_id: query.text for query in raw.queries}
    texts = {document.document_id: document.text for document in raw.documents}
    return [(queries[qrel.query_id], texts[qrel.document_id]) for qrel in raw.qrels["all"]]


class Week(NamedTuple):
    """One run: its rows, and the folder that the stages have filled."""

    rows: list[Row]
    folder: Path

    @property
    def text(self) -> str:
        """metrics/assignments.csv."""
        return (self.folder / "assignments.csv").read_text()

    @property
    def queries(self) -> pl.DataFrame:
        """The test queries."""
        return read(self.folder / "splits/test/queries.parquet", SPLIT_QUERIES)

    @property
    def corpus(self) -> pl.DataFrame:
        """The documents."""
        return read(self.folder / "prepared/corpus.parquet", CORPUS)

    @property
    def lock(self) -> str:
        """Entries of dvc.lock for the data that tuned is scored on."""
        deps = "".join(f"    - path: {path}\n      md5: {self._hash(path)}\n" for path in TESTED_ON)
        return f"stages:\n  evaluate@tuned:\n    deps:\n{deps}"

    @property
    def commit(self) -> str:
        """The hash of this week's commit."""
        return hashlib.sha1(self.lock.encode(), usedforsecurity=False).hexdigest()

    def _hash(self, path: str) -> str:
        place = self.folder / Path(path).relative_to("data")
        files = sorted(place.rglob("*.parquet")) if place.is_dir() else [place]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@lru_cache
def loaded(texts: tuple[str, str], folder: Path) -> tuple[CollectParams, PrepareParams, SplitParams]:
    """Reads the three stages' parameters from a repository's files."""
    for name, text in zip(("params.yaml", "advanced.yaml"), texts, strict=True):
        (folder / name).write_text(text)
    kinds = {"collect": CollectParams, "prepare": PrepareParams, "split": SplitParams}
    collecting, preparing, splitting = (load_params(k, name, folder / "params.yaml") for name, k in kinds.items())
    return collecting, preparing, splitting  # type: ignore[return-value]


class Repository:
    """A user's repository: its parameters, and its runs by name in folders below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        write_shipped(root)
        names = {"query": "question", "document": "answer", "stratum": "product"}
        columns = dict.fromkeys(("title", "relevance", "query_id", "document_id", "group", "split"), "")
        miniature.change(
            root,
            {
                "collect": {"source": "pairs", "columns": columns | names | {"negatives": []}},
                "split": {"dev_share": 0.2, "test_share": 0.2, "seed": 13, "strata": "by_hash"},
                "demo": {"port": 8765},
            },
        )
        self.package = self.texts()
        for name, text in self.package.items():
            mine = text.replace("  port: 8765", "  # ours\n  port: 9000  # of the proxy").replace(
                "seed: 13\n", "seed: 7  # drawn\n"
            )
            (root / name).write_text(mine)

    def texts(self) -> dict[str, str]:
        """Both parameter files."""
        return {name: (self.root / name).read_text() for name in ("params.yaml", "advanced.yaml")}

    def upgrade(self, edits: Mapping[str, str], renamed: Mapping[str, str]) -> list[str]:
        """Migrates the parameters to a release; returns what is said.

        Args:
            edits: texts of the package's parameter files, and what takes their place.
            renamed: keys.
        """
        package = dict(self.package)
        for old, new in edits.items():
            package = {name: text.replace(old, new) for name, text in package.items()}
        texts, said = migrated(self.texts(), package, renamed)
        for name, text in texts.items():
            (self.root / name).write_text(text)
        return said

    def run(self, name: str, rows: list[Row]) -> Week:
        """Runs collect, prepare and split on rows."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        texts = self.texts()
        collecting, preparing, splitting = loaded((texts["params.yaml"], texts["advanced.yaml"]), self.root)
        table = write_table(folder / "faq.csv", rows)
        call(collect, collecting.model_copy(update={"path": str(table)}), None, out=folder / "raw")
        call(prepare, preparing, folder / "prepare.json", raw=folder / "raw", out=folder / "prepared")
        near = asdict(preparing.near_duplicates())
        outs = {"out": folder / "splits", "assignments": folder / "assignments.csv"}
        call(split, splitting, folder / "split.json", prepared=folder / "prepared", **near, **outs)
        return Week(rows, folder)
