"""Indexes documents in a store and searches them: `python try_store.py sqlite_store store.db MODEL DOCUMENTS QUERY`.

Needs attune's base install and the store's packages (docs/stores.md).
"""

import argparse
import importlib
import json
from pathlib import Path

from attune.runtime import Embedder

STORES = ("postgres_store", "qdrant_store", "lancedb_store", "sqlite_store")


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Indexes documents in a store and searches them.")
    parser.add_argument("store", choices=STORES)
    parser.add_argument("address", help="what the store's open_store takes: a URL, a folder or a file")
    parser.add_argument("model", help="released folder, models/onnx")
    parser.add_argument("documents", type=Path, help='lines of {"_id": ..., "text": ..., "section": ...}')
    parser.add_argument("query")
    parser.add_argument("--section", help="search in this section only")
    parser.add_argument("--k", type=int, default=5, help="hits; default: %(default)s")
    arguments = parser.parse_args()
    script = importlib.import_module(arguments.store)
    store = script.open_store(arguments.address, Embedder(arguments.model))
    lines = arguments.documents.read_text(encoding="utf-8").splitlines()
    script.build(store, [json.loads(line) for line in lines])
    for search in (script.query, script.full_text, script.hybrid):
        print(f"{search.__name__}:")
        for id_, score in search(store, arguments.query, arguments.k, arguments.section):
            print(f"  {score:.4f}  {id_}")


if __name__ == "__main__":
    main()
