"""From a path on the command line to the parameters that read it."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from attune.data.sources.documents import TEXTS
from attune.data.sources.files.columns import Columns
from attune.data.sources.files.tabular import columns_of, single_file
from attune.errors import BadInput
from attune.problems import Problems
from attune.stage import load_params
from attune.stages.collect import CollectParams

PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./-]*")
WORDS = {"true", "false", "yes", "no", "on", "off", "y", "n", "null"}  # no strings in YAML
SOURCES = ("beir", "pairs", "triplets", "documents")


def chosen(path: Path | None, source: str, column: Sequence[str]) -> tuple[CollectParams, list[str]]:
    """The parameters for a path, and the lines of params.yaml that say the same; without a path those of params.yaml.

    Raises:
        BadInput: the source or a column does not exist, or params.yaml is not in this folder.
    """
    params = load_params(CollectParams, "collect")
    if path is None:
        return params, []
    columns = named(params.columns, column)
    source = source or guess(path, columns)
    if source not in SOURCES:
        raise BadInput(f"--source: got {source!r}, expected one of {', '.join(SOURCES)}")
    changed = {key: value for key, value in columns.model_dump().items() if value != getattr(params.columns, key)}
    lines = [f"source: {source}", f"path: {in_yaml(str(path))}"]
    lines += ["columns:", *(f"  {key}: {in_yaml(value)}" for key, value in changed.items())] if changed else []
    return params.model_copy(update={"source": source, "path": str(path), "columns": columns}), lines


def named(columns: Columns, options: Sequence[str]) -> Columns:
    """The columns with those named on the command line (query=question; negatives=bad1,bad2) in their place."""
    changes: dict[str, str | list[str]] = {}
    for option in options:
        key, equals, name = option.partition("=")
        if not equals or key not in Columns.model_fields:
            raise BadInput(
                f"--column: got {option!r}, expected KIND=NAME such as query=question, "
                f"with KIND one of {', '.join(Columns.model_fields)}"
            )
        changes[key] = name.split(",") if key == "negatives" else name
    return columns.model_copy(update=changes)


def in_yaml(value: str | list[str]) -> str:
    """A value as it is written in params.yaml: in quotes, which YAML shares with JSON, unless it is a plain name."""
    plain = isinstance(value, str) and PLAIN.fullmatch(value) and value.lower() not in WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


def guess(path: Path, columns: Columns) -> str:
    """The source that can read a path, by what lies there and by the columns it has."""
    if not path.exists():
        raise BadInput(f"{path}: not found; check the path")
    if path.is_dir() and (any(path.glob("corpus.jsonl*")) or (path / "qrels").is_dir()):
        return "beir"
    if path.is_dir() and any(file.suffix.lower() in TEXTS for file in path.rglob("*") if file.name != "README.md"):
        return "documents"
    problems = Problems()
    found = set(columns_of(single_file(path, problems), problems))
    problems.check()
    if {columns.query, columns.document} <= found:
        return "triplets" if columns.negatives and set(columns.negatives) <= found else "pairs"
    if columns.document in found:
        return "documents"
    raise BadInput(
        f"{path}: the columns are {', '.join(sorted(found))}; say which is which: "
        "--column query=NAME --column document=NAME"
    )
