"""Data sets of the bench of regret, and what all cells of one share: data, split, base encoder and its embeddings.

Of a recipe in examples/ only `collect` and `split` are kept, which say where the data are and what is new in test: all
other settings are the defaults, which are measured. The miniature keeps its whole recipe, for tests.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from attune.errors import BadInput
from bench.rivals.environments import module
from bench.section import ROOT

miniature = module("tests/miniature.py")
RECIPES = ROOT / "examples"
DATA_KEYS = ("collect", "split")
# outputs that all cells of a data set share; stages that make them
SHARED = (
    "models/base",
    "models/base_exported",
    "data/prepared",
    "data/splits",
    "data/near_domain",
    "data/embeddings/base",
)
STAGES = ("near_domain", "audit", "embed@base")
Recipe = Mapping[str, Mapping[str, Any]]
Row = Mapping[str, Any]


@dataclass(frozen=True)
class DataSet:
    """A data set of the bench.

    Attributes:
        name: in the tables.
        source: folder of $ATTUNE_DATASETS; '' for data that stage collect finds without one.
        recipe: changed parameters, by section.
        convert: writes the folder's data in BEIR's layout into another folder; None where they have it.
    """

    name: str
    source: str
    recipe: Recipe
    convert: Callable[[Path, Path], None] | None = None


def of_example(name: str) -> DataSet:
    """Returns a data set with the settings of its recipe that concern the data."""
    recipe = read_recipe(RECIPES / f"{name}.yaml")
    return DataSet(name, name, {section: recipe[section] for section in DATA_KEYS if section in recipe})


def read_recipe(file: Path) -> dict[str, dict[str, Any]]:
    """Reads a recipe: changed parameters, by section."""
    recipe: dict[str, dict[str, Any]] = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    return recipe


def sentence_pairs(source: Path, out: Path) -> None:
    """Writes STS-B as retrieval: the second sentence is searched by the first, graded 1 to 3 from a score of 3 on.

    3 means roughly equivalent, 5 means the same; all second sentences are searched. Pairs of dev.jsonl become train
    (attune cuts dev from it), those of test.jsonl become test, less queries and documents that train has.
    """
    known: set[str] = set()
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    for split, file in (("train", "dev.jsonl"), ("test", "test.jsonl")):
        rows = [row for row in read_lines(source / file) if not {row["sentence1"], row["sentence2"]} & known]
        judged: dict[tuple[str, str], int] = {}
        for row in rows:
            document_id = documents.setdefault(row["sentence2"], f"d{len(documents)}")
            if row["score"] >= 3:
                query_id = queries.setdefault(row["sentence1"], f"q{len(queries)}")
                grade = int(row["score"]) - 2
                judged[query_id, document_id] = max(grade, judged.get((query_id, document_id), 0))
        write_qrels(out, split, judged)
        known |= {row[name] for row in rows for name in ("sentence1", "sentence2")}
    write_texts(out, documents, queries)


def intents(source: Path, out: Path) -> None:
    """Writes BANKING77 as retrieval: a customer's message searches the names of the 77 intents, its own is relevant."""
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    for split in ("train", "test"):
        judged: dict[tuple[str, str], int] = {}
        for row in read_lines(source / f"{split}.jsonl"):
            if row["text"] not in queries:
                name = row["label"].replace("_", " ")
                query_id = queries.setdefault(row["text"], f"q{len(queries)}")
                judged[query_id, documents.setdefault(name, f"d{len(documents)}")] = 1
        write_qrels(out, split, judged)
    write_texts(out, documents, queries)


def read_lines(file: Path) -> Iterator[Row]:
    """Yields the objects of a file of JSON lines."""
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def write_qrels(out: Path, split: str, judged: Mapping[tuple[str, str], int]) -> None:
    """Writes the judgments of a split in BEIR's layout."""
    lines = ["query-id\tcorpus-id\tscore", *("\t".join(map(str, (*ids, grade))) for ids, grade in judged.items())]
    (out / "qrels").mkdir(parents=True, exist_ok=True)
    (out / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_texts(out: Path, documents: Mapping[str, str], queries: Mapping[str, str]) -> None:
    """Writes texts in BEIR's layout, given their ids by text."""
    for name, rows in (
        ("corpus", [{"_id": id_, "title": "", "text": text} for text, id_ in documents.items()]),
        ("queries", [{"_id": id_, "text": text} for text, id_ in queries.items()]),
    ):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (out / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


OWN_SPLIT: Recipe = {"collect": {"source": "beir"}, "split": {"max_leak_share": 1.0}}
SETS = {
    data.name: data
    for data in (
        DataSet("default", "", {}),
        *map(of_example, ("nl2bash", "medquad", "scifact", "cranfield")),
        DataSet("stsb", "stsb", OWN_SPLIT, sentence_pairs),
        DataSet("banking77", "banking77", {**OWN_SPLIT, "split": {"by": "query", "max_leak_share": 1.0}}, intents),
        DataSet("miniature", "", read_recipe(miniature.MINIATURE)),
    )
}
MEASURED = tuple(name for name in SETS if name != "miniature")


def missing(data: DataSet, datasets: Path) -> str:
    """Returns why a data set cannot be measured; '' if it can."""
    is_there = not data.source or (datasets / data.source).is_dir()
    return "" if is_there else f"{data.name}: {datasets} has no folder {data.source}"


def shared_folder(data: DataSet, work: Path, datasets: Path) -> Path:
    """Returns a pipeline's folder that holds SHARED; runs the stages of it that are not up to date.

    The default's is the project's root where `make repro` has run.

    Args:
        data: the data set.
        work: folder of the bench, in which the pipeline is made.
        datasets: $ATTUNE_DATASETS.

    Raises:
        BadInput: a stage fails.
    """
    if data.name == "default" and all((ROOT / path).exists() for path in SHARED):
        return ROOT
    folder = work / "data" / data.name
    source = datasets / data.source
    if data.convert:
        data.convert(datasets / data.source, source := work / "beir" / data.name)
    make_pipeline(folder, data.recipe, {"collect": {"path": str(source.resolve())}} if data.source else {})
    stages(folder, STAGES)
    return folder


def make_pipeline(folder: Path, recipe: Recipe, changes: Recipe) -> None:
    """Copies the project's pipeline into a folder, with a recipe and further changes; outputs there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.yaml"
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump({section: dict(values) for section, values in recipe.items()}, stream)
    miniature.make(folder, changes, file)


def copy_pipeline(shared: Path, folder: Path, changes: Recipe) -> None:
    """Copies the project's pipeline into a folder, with the parameters of a shared one and changes."""
    make_pipeline(folder, {}, {})
    for name in ("params.yaml", "advanced.yaml"):
        shutil.copyfile(shared / name, folder / name)
    miniature.change(folder, changes)


def stages(folder: Path, names: Sequence[str], *options: str) -> None:
    """Runs stages of a pipeline that are not up to date.

    Raises:
        BadInput: a stage fails.
    """
    try:
        miniature.dvc(folder, "repro", *options, *names)
    except AssertionError as error:
        reasons = [line for line in str(error).splitlines() if line.startswith("attune")] or str(error).splitlines()
        raise BadInput(f"{folder}: dvc repro {' '.join(names)} failed: {reasons[-1]}") from None
