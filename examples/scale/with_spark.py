"""Encodes a corpus with Spark: `python with_spark.py MODEL CORPUS OUT`, on this host or on the cluster of --master.

Each Python worker loads the encoder once and keeps it for its further tasks. Spark repeats the tasks of a worker that
died, and takes a part of the output for written when its task has ended.
"""

import os
import sys
from collections.abc import Iterator

import jobs
import pandas as pd
import pyarrow as pa
from jobs import Job, main, parser
from pyspark.sql import SparkSession

SCHEMA = "id string, vector array<float>"
SETTINGS = {
    "spark.sql.files.maxPartitionBytes": "16m",  # of the corpus in a task: minutes of work, all that a death costs
    "spark.sql.execution.arrow.maxRecordsPerBatch": "1024",
    "spark.ui.enabled": "false",
}


def start(master: str = "local[*,4]") -> int:
    """Starts Spark on this host, or joins a cluster; returns its number of cores."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spark = SparkSession.builder.appName("attune").master(master).config(map=SETTINGS).getOrCreate()
    spark.sparkContext.addPyFile(jobs.__file__)  # a module of the workers, so that it keeps the encoder between tasks
    return spark.sparkContext.defaultParallelism


def encode(job: Job, files: list[str], out: str) -> None:
    """Encodes files to a folder of parts, on all cores of the cluster."""

    def embedded(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            yield job.encode(pa.Table.from_pandas(frame, preserve_index=False)).to_pandas()

    # with the scheme, or a cluster would look in its own file system
    documents = SparkSession.active().read.parquet(*(f"file://{file}" for file in files)).select(job.read)
    documents.mapInPandas(embedded, SCHEMA).write.parquet(f"file://{out}")


def stop() -> None:
    """Stops Spark, and every process that it started."""
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


if __name__ == "__main__":
    arguments = parser("Encodes a corpus with Spark.")
    arguments.add_argument("--master", default="local[*,4]", help="such as spark://host:7077; default: %(default)s")
    given = arguments.parse_args()
    try:
        main("spark", encode, start(given.master), given)
    finally:
        stop()
