"""Writes small folders in BEIR's layout."""

from pathlib import Path

CORPUS = '{"_id": "d1", "title": "One", "text": "first"}\n{"_id": "d2", "text": "second"}\n'
QUERIES = '{"_id": "q1", "text": "which is first?"}\n{"_id": "q2", "text": "which is second?"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
ALL = {"corpus.jsonl": CORPUS, "queries.jsonl": QUERIES, "qrels/all.tsv": HEADER + "q1\td1\t1\nq2\td2\t2\n"}

Files = dict[str, str | bytes | None]


def write(folder: Path, files: Files) -> Path:
    """Writes the good folder with some files replaced, or left out where None."""
    for name, content in {**ALL, **files}.items():
        if content is not None:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder
