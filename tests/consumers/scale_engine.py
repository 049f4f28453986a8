"""Runs Ray or Spark as examples/scale does, and kills the first worker that comes to a given document.

    python -c "import scale_engine; scale_engine.main()" ENGINE MODEL CORPUS OUT EVENTS DOOMED_ID

Each worker process writes to EVENTS, in a file of its id, how often it has loaded the encoder and how many batches it
has embedded; the file `killed` has the id of the one that was. Workers import this module, so it is no script.
"""

import importlib
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jobs
import pyarrow as pa

BATCH = 40  # documents
START = {"ray": {}, "spark": {"master": "local-cluster[2,1,1024]"}}


@dataclass(frozen=True)
class Watched(jobs.Job):
    """A job whose worker dies, once, when it comes to the document `doomed`."""

    events: str
    doomed: str

    def encode(self, documents: pa.Table) -> pa.Table:
        """Embeds documents, if the process lives on."""
        if self.doomed in documents[self.id].to_pylist():
            with suppress(FileExistsError), Path(self.events, "killed").open("x") as stream:
                stream.write(str(os.getpid()))
                stream.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        vectors = super().encode(documents)
        loads = jobs.embedder.cache_info()
        Path(self.events, str(os.getpid())).write_text(f"{loads.misses} {loads.misses + loads.hits}")
        return vectors


def main() -> None:
    """Encodes the corpus in one step."""
    name, model, corpus, out, events, doomed = sys.argv[1:]
    engine = importlib.import_module(f"with_{name}")
    engine.BATCH = BATCH
    if name == "spark":
        engine.SETTINGS["spark.sql.execution.arrow.maxRecordsPerBatch"] = str(BATCH)
    job = Watched(model, "fp32", "id", ("title", "text"), events, doomed)
    try:
        engine.start(**START[name])
        jobs.run(job, Path(corpus), Path(out), 64, engine.encode)
    finally:
        engine.stop()
