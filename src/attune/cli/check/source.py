"""Source of a data set and the names of its columns, guessed from the path unless they are given."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from attune.data.sources.documents import TEXTS
from attune.data.sources.files.cells import ColumnNames
from attune.data.sources.files.tabular import columns_of, single_file
from attune.errors import BadInput, Problems
from attune.stage import load_params
from attune.stages.collect import CollectParams

SOURCES = ("beir", "pairs", "triplets", "documents")
BARE = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./-]*")  # needs no quotes in YAML ...
KEYWORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # ... unless it is one of these


def source_params(path: Path | None, source: str, options: Sequence[str]) -> tuple[CollectParams, list[str]]:
    """Returns the parameters of stage collect for a path, and the lines of params.yaml that set them.

    Args:
        path: the data; None takes source, path and columns from params.yaml, and there are no lines to set.
        source: name of the source; "" guesses it.
        options: column names, such as "query=question".

    Raises:
        BadInput: the source or a column does not exist, or params.yaml is not in this folder.
    """
    params = load_params(CollectParams, "collect")
    if path is None:
        return params, []
    columns = with_names(params.columns, options)
    guessed = guess_source(path, columns) if not source else ""
    asked = [option for option in options if option.startswith("query=") and option != "query="]
    if guessed == "documents" and asked:
        raise BadInput(
            f"{path}: --column {asked[-1]}: got no such column, expected that of your queries; correct the name, or "
            "leave it out to take queries from the documents"
        )
    source = source or guessed
    if source not in SOURCES:
        raise BadInput(f"--source: got {source!r}, expected one of {', '.join(SOURCES)}; name the kind of your data")
    changed = {key: value for key, value in columns.model_dump().items() if value != getattr(params.columns, key)}
    lines = [f"source: {source}", f"path: {yaml_value(str(path))}"]
    lines += ["columns:", *(f"  {key}: {yaml_value(value)}" for key, value in changed.items())] if changed else []
    return params.model_copy(update={"source": source, "path": str(path), "columns": columns}), lines


def with_names(columns: ColumnNames, options: Sequence[str]) -> ColumnNames:
    """Returns the columns under the names from the command line (query=question, negatives=bad1,bad2)."""
    changes: dict[str, str | list[str]] = {}
    for option in options:
        key, equals, name = option.partition("=")
        if not equals or key not in ColumnNames.model_fields:
            raise BadInput(
                f"--column: got {option!r}, expected KIND=NAME such as query=question, "
                f"with KIND one of {', '.join(ColumnNames.model_fields)}; see docs/your-data.md"
            )
        changes[key] = name.split(",") if key == "negatives" else name
    return columns.model_copy(update=changes)


def yaml_value(value: str | list[str]) -> str:
    """Returns a value as YAML: a bare name where that is a string, else in JSON's quotes, which are YAML's, too."""
    is_bare = isinstance(value, str) and BARE.fullmatch(value) and value.lower() not in KEYWORDS
    return str(value) if is_bare else json.dumps(value, ensure_ascii=False)


def guess_source(path: Path, columns: ColumnNames) -> str:
    """Returns the source that can read a path, judged by its files and their columns.

    Raises:
        BadInput: nothing there, an unreadable file, or no columns of these names.
    """
    if not path.exists():
        raise BadInput(f"{path}: not found; check the path")
    if path.is_dir() and (any(path.glob("corpus.jsonl*")) or (path / "qrels").is_dir()):
        return "beir"
    if path.is_dir() and any(file.suffix.lower() in TEXTS for file in path.rglob("*") if file.name != "README.md"):
        return "documents"
    problems = Problems()
    names = set(columns_of(single_file(path, problems), problems))
    problems.check()
    if {columns.query, columns.document} <= names:
        return "triplets" if columns.negatives and set(columns.negatives) <= names else "pairs"
    if columns.document in names:
        return "documents"
    raise BadInput(
        f"{path}: the columns are {', '.join(sorted(names))}; name those of query and document: "
        "--column query=NAME --column document=NAME"
    )
