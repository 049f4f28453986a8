"""Builds the search index of encoded documents: `python index.py OUT INDEX`."""

import argparse
import json
import sys
from pathlib import Path

from jobs import RECORD

from attune.errors import BadInput, one_line
from attune.runtime.vector_files import build_index


def record_of(out: Path) -> tuple[str, int]:
    """Returns the fingerprint of a job's encoder, and its number of steps.

    Raises:
        BadInput: the folder has no record of a job.
    """
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        return str(record["encoder"]), -(-len(record["corpus"]) // record["files_per_step"])
    except (OSError, ValueError, LookupError, TypeError):
        raise BadInput(
            f"{out / RECORD}: no record of an encoding job; give a folder that such a job has filled"
        ) from None


def main() -> None:
    """Builds and saves the index; an error is one line and exit code 1."""
    parser = argparse.ArgumentParser(description="Builds the search index of encoded documents.")
    parser.add_argument("out", type=Path, help="folder that an encoding job has filled")
    parser.add_argument("index", type=Path, help="new folder, for attune.runtime.search.Search.load")
    parser.add_argument("--factory", default="flat", help="kind of index: flat, ivf, hnsw, sq8, pq; default: flat")
    parser.add_argument("--storage", default="float32", help="of a flat index's vectors: float16, int8, binary, ...")
    parser.add_argument("--scratch", type=Path, help="folder of a temporary file of 4 dim bytes per document")
    given = parser.parse_args()
    try:
        encoder, n_steps = record_of(given.out)
        if len(list(given.out.glob("step-*"))) < n_steps:
            raise BadInput(f"{given.out}: not all of {n_steps} steps are done; run the encoding job again to finish it")
        options = {"factory": given.factory, "storage": given.storage, "scratch": given.scratch}
        index = build_index(given.out, encoder, **options)
        index.save(given.index)
    except (BadInput, OSError, ValueError) as error:
        sys.exit(f"index: {one_line(error)}")
    print(f"{given.index}: {len(index)} documents, recall@10 {index.recall:.3f} against exact search")


if __name__ == "__main__":
    main()
