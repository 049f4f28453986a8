"""Encodes a corpus without an engine: `python in_one_process.py MODEL CORPUS OUT`; the same bytes, on one core."""

from pathlib import Path

import pyarrow.parquet as pq
from jobs import SCHEMA, Job, main, parser

BATCH = 1024  # documents in memory


def encode(job: Job, files: list[str], out: str) -> None:
    """Encodes files to a folder of parts, one per file."""
    Path(out).mkdir()
    for file in map(Path, files):
        with pq.ParquetFile(file) as documents, pq.ParquetWriter(Path(out) / file.name, SCHEMA) as vectors:
            for batch in documents.iter_batches(BATCH, columns=job.read):
                vectors.write_table(job.encode(batch))


if __name__ == "__main__":
    main("one process", encode, 1, parser("Encodes a corpus without an engine.").parse_args())
