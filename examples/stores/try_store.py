"""Indexes documents in a store and searches them: `python try_store.py sqlite_store store.db MODEL DOCUMENTS QUERY`.

Needs attune's base install and the store's packages (docs/stores.md).
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from attune.errors import BadInput, one_line
from attune.runtime import Embedder

STORES = ("postgres_store", "qdrant_store", "lancedb_store", "sqlite_store")
BATCH = 1000  # documents per call of `build`


def batches(path: Path) -> Iterator[list[dict[str, str]]]:
    """Yields the documents of a file, at most BATCH at a time.

    Raises:
        BadInput: a line is no document; names it.
    """
    with path.open(encoding="utf-8") as stream:
        lines = enumerate(stream, start=1)
        while batch := [_document(path, *line) for line in islice(lines, BATCH)]:
            yield batch


def _document(path: Path, number: int, line: str) -> dict[str, str]:
    try:
        document = json.loads(line)
        if all(isinstance(document[key], str) for key in ("_id", "text")):
            return dict(document)
    except (ValueError, KeyError, TypeError):
        pass
    raise BadInput(f'{path}, line {number}: expected {{"_id": "...", "text": "..."}}; mend or remove the line')


def arguments() -> argparse.Namespace:
    """Returns the arguments of the command line."""
    parser = argparse.ArgumentParser(description="Indexes documents in a store and searches them.")
    parser.add_argument("store", choices=STORES)
    parser.add_argument("address", help="what the store's open_store takes: a URL, a folder or a file")
    parser.add_argument("model", help="released folder, models/onnx")
    parser.add_argument("documents", type=Path, help='lines of {"_id": ..., "text": ..., "section": ...}')
    parser.add_argument("query")
    parser.add_argument("--storage", help="one of the script's STORAGES; default: the script's")
    parser.add_argument("--section", help="search in this section only")
    parser.add_argument("--k", type=int, default=5, help="hits; default: %(default)s")
    return parser.parse_args()


def main() -> None:
    """Runs the command; an error of the input is one line and exit code 1."""
    given = arguments()
    try:
        script = importlib.import_module(given.store)
        options = {"storage": given.storage} if given.storage else {}
        store = script.open_store(given.address, Embedder(given.model), **options)
        for documents in batches(given.documents):
            script.build(store, documents)
    except (BadInput, ImportError, OSError, ValueError) as error:
        sys.exit(f"try_store: {one_line(error)}")
    for search in (script.query, script.full_text, script.hybrid):
        print(f"{search.__name__}:")
        for id_, score in search(store, given.query, given.k, given.section):
            print(f"  {score:.4f}  {id_}")


if __name__ == "__main__":
    main()
