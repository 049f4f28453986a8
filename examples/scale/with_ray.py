"""Encodes a corpus with Ray Data: `python with_ray.py MODEL CORPUS OUT`, on this host or on the cluster of --address.

An actor per core loads the encoder once. Ray restarts an actor that died, and repeats what it had not handed over.
"""

from pathlib import Path

import pyarrow as pa
import ray
from jobs import Job, main, parser

BATCH = 1024  # documents
PIECE = 16 * 2**20  # bytes of the corpus in a task: minutes of work, all that a worker's death costs
CORES = 0.9  # of a worker, as Ray counts them: the rest lets it read and write beside a worker on each core
READING = {"num_cpus": 0.05}


class Encoder:
    """The encoder of an actor, which embeds one batch after another."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, documents: pa.Table) -> pa.Table:
        """Embeds a batch."""
        return self._job.encode(documents)


def start(address: str | None = None) -> int:
    """Starts Ray on this host, or joins a cluster; returns its number of cores."""
    own = {"working_dir": str(Path(__file__).parent)}  # workers elsewhere import `jobs`, too
    ray.init(address, include_dashboard=False, runtime_env=own)
    return int(ray.cluster_resources()["CPU"])


def encode(job: Job, files: list[str], out: str) -> None:
    """Encodes files to a folder of parts, on all cores of the cluster."""
    ray.data.DataContext.get_current().target_max_block_size = PIECE
    # from one worker on: Ray lists the files in a task that takes a core
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=int(ray.cluster_resources()["CPU"]))
    documents = ray.data.read_parquet(files, columns=job.read, ray_remote_args=READING)
    own = {"fn_constructor_args": (job,), "compute": pool, "num_cpus": CORES}
    vectors = documents.map_batches(Encoder, batch_size=BATCH, batch_format="pyarrow", **own)
    vectors.write_parquet(out, ray_remote_args=READING)


def stop() -> None:
    """Stops Ray, and every process that it started."""
    ray.shutdown()


if __name__ == "__main__":
    arguments = parser("Encodes a corpus with Ray Data.")
    arguments.add_argument("--address", help="of a cluster, such as auto; default: this host alone")
    given = arguments.parse_args()
    try:
        main("ray", encode, start(given.address), given)
    finally:
        stop()
