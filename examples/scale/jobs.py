"""Jobs that encode a corpus, for any engine: their parameters, the encoder of a worker process, steps that resume.

A document's vector must not depend on who encodes it, or a retry, another engine or another number of workers would
leave other bytes. The other texts of a batch change the last digits of a vector, so each text is a batch of its own. On
a worker's one core that costs little, as there is no padding (docs/distributed.md has the rates).
"""

import argparse
import fcntl
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attune.errors import BadInput, one_line
from attune.files import replacing
from attune.runtime import Embedder, verify
from attune.runtime.manifest import MANIFEST, read_manifest, sha256_of
from attune.runtime.vector_files import ID, VECTOR, vector_files

RECORD = "job.json"
SCHEMA = pa.schema([(ID, pa.string()), (VECTOR, pa.list_(pa.float32()))])
WAYS = {  # arguments of Embedder
    "fp32": {"file": "onnx/model.onnx"},
    "int8": {"file": "onnx/model_quantized.onnx"},
    "bf16": {"file": "onnx/model.onnx", "engine": "openvino", "precision": "bf16"},
}
Encode = Callable[["Job", list[str], str], None]


@dataclass(frozen=True)
class Job:
    """An encoder and the columns that it reads; goes to each worker, so it holds names alone.

    Attributes:
        model: folder of the encoder, at the same place on all hosts.
        precision: key of WAYS.
        id: column of the corpus with the ids.
        columns: columns of the text, joined by a space: title and text where the encoder was tuned on both.
        release: sha256 of the folder's manifest, which lists every file's own; `run` fills it in, so that no worker
            takes another version of the folder that lies on its host. "" compares nothing.
    """

    model: str
    precision: str
    id: str
    columns: tuple[str, ...]
    release: str = field(default="", kw_only=True)

    @property
    def read(self) -> list[str]:
        """Columns of the corpus that workers read."""
        return list(dict.fromkeys((self.id, *self.columns)))

    def texts(self, documents: pa.Table) -> list[str]:
        """Returns the text of each document, as it is embedded.

        Raises:
            BadInput: an id or a text is missing or no string.
        """
        for name in self.read:
            values = documents[name]
            if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
                raise BadInput(f"column {name} is {values.type}, expected string; convert it")
            if values.null_count:
                id_ = documents[self.id][values.is_null().to_pylist().index(True)].as_py()
                raise BadInput(f"document {id_!a} has no {name}, expected one in each; fill or drop it")
        return [
            " ".join(row).strip() for row in zip(*(documents[name].to_pylist() for name in self.columns), strict=True)
        ]

    def encode(self, documents: pa.Table) -> pa.Table:
        """Embeds documents: their columns `id` and `vector`; loads the encoder at the first call in a process.

        Raises:
            BadInput: as `texts` and `embedder` do.
        """
        texts = self.texts(documents)
        vectors = embedder(self.model, self.precision, self.release).encode_document(texts, batch_size=1)
        offsets = np.arange(len(texts) + 1, dtype=np.int32) * vectors.shape[1]
        lists = pa.ListArray.from_arrays(offsets, vectors.ravel())
        return pa.table([documents[self.id].cast(pa.string()), lists], schema=SCHEMA)


@cache
def embedder(model: str, precision: str, release: str) -> Embedder:
    """Loads the encoder, once per process.

    Raises:
        BadInput: the folder on this host is of another release than the job's, or damaged, or this host's CPU computes
            other vectors, as one does on which int8 saturates.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a worker has one core
    if release:
        verify(model, threads=1)
        if (own := sha256_of(Path(model) / MANIFEST)) != release:
            found = f"release {own[:12]} on host {platform.node()}, expected {release[:12]}"
            raise BadInput(f"{model}: {found}; copy the job's folder there and run again")
    return Embedder(model, threads=1, **WAYS[precision])


def run(job: Job, corpus: Path, out: Path, files_per_step: int, encode: Encode) -> int:
    """Encodes the parquet files of a corpus in steps; each leaves a folder of parts under its final name, or nothing.

    Run again with the same arguments, it goes on after the last finished step, whatever ended it.

    Args:
        job: what to encode, and with which encoder.
        corpus: folder of parquet files.
        out: gets a folder per step, and job.json.
        files_per_step: files of the corpus that one job of the engine encodes.
        encode: the engine's job, files to a folder of parts.

    Returns:
        The number of documents in `out`.

    Raises:
        BadInput: the encoder is damaged; no corpus; `out` is of another job; a part lacks documents.
    """
    if files_per_step < 1:
        raise BadInput(f"--files-per-step: got {files_per_step}, expected 1 or more; give such a number")
    files = corpus_files(corpus)
    verify(job.model)
    job = replace(job, release=sha256_of(Path(job.model) / MANIFEST))
    out.mkdir(parents=True, exist_ok=True)
    with (out / "_lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInput(f"{out}: another process is encoding into it; wait for it, or give another folder") from None
        _claim(job, files, files_per_step, out)
        steps = range(0, len(files), files_per_step)
        return sum(_step(job, files[n : n + files_per_step], out / f"step-{n:05}", encode) for n in steps)


def _step(job: Job, files: list[Path], done: Path, encode: Encode) -> int:
    """Encodes some files, if that is not done yet; returns their number of documents."""
    n = sum(_n_rows(file, job.read) for file in files)
    if not done.exists():
        partial = done.with_name(f"_{done.name}")  # readers skip names with an underscore
        shutil.rmtree(partial, ignore_errors=True)
        encode(job, [str(file) for file in files], str(partial))
        if (got := sum(_n_rows(file, SCHEMA.names) for file in vector_files(partial))) != n:
            raise BadInput(f"{partial}: {got} vectors for {n} documents; run again")
        partial.rename(done)
    return n


def corpus_files(corpus: Path) -> list[Path]:
    """Returns the parquet files of a corpus, sorted.

    Raises:
        BadInput: there are none.
    """
    files = sorted(corpus.glob("*.parquet"))
    if not files:
        raise BadInput(f"{corpus}: no parquet file in it, expected the corpus; give its folder")
    return files


def _n_rows(file: Path, columns: Sequence[str]) -> int:
    try:
        metadata = pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise BadInput(f"{file}: cannot be read as parquet ({error}); write it again") from None
    names = metadata.schema.to_arrow_schema().names
    if missing := set(columns) - set(names):
        raise BadInput(f"{file}: columns are {', '.join(names)}; expected {', '.join(sorted(missing))}; name them")
    return int(metadata.num_rows)


def _claim(job: Job, files: list[Path], files_per_step: int, out: Path) -> None:
    """Writes the record of the job; refuses a folder that holds another's parts."""
    record = {
        "encoder": read_manifest(Path(job.model)).fingerprint(),
        "release": job.release,
        "precision": job.precision,
        "columns": [job.id, *job.columns],
        "corpus": [[file.name, sha256_of(file)] for file in files],
        "files_per_step": files_per_step,
    }
    file = out / RECORD
    if not file.exists():
        with replacing(file) as partial:
            partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    old = json.loads(file.read_text(encoding="utf-8"))
    if differing := [key for key, value in record.items() if old.get(key) != value]:
        raise BadInput(
            f"{file}: of another job ({', '.join(differing)} differ); finish that one, or give another folder"
        )


def main(engine: str, encode: Encode, n_cores: int, given: argparse.Namespace) -> None:
    """Runs the job of the command line; the reason of a failure is one line and exit code 1."""
    try:
        start = time.perf_counter()
        n = run(job_of(given), given.corpus.resolve(), given.out.resolve(), given.files_per_step, encode)
    except Exception as error:
        sys.exit(f"{engine}: {reason(error)}")
    print(f"{engine}: {n} documents in {given.out} after {time.perf_counter() - start:.1f} s, {n_cores} cores")


def reason(error: Exception) -> str:
    """Returns the line of the BadInput that a worker raised, out of the report of the engine; else its first line."""
    raised = re.findall(r"attune\.errors\.BadInput: (.+)", str(error))
    return one_line(raised[-1] if raised else error)[:500]


def parser(description: str) -> argparse.ArgumentParser:
    """Returns the arguments that all engines share."""
    parser = argparse.ArgumentParser(description=description)
    job_arguments(parser)
    parser.add_argument("out", type=Path, help="gets the vectors: step-*/*.parquet with columns id and vector")
    parser.add_argument("--files-per-step", type=int, default=64, help="encoded between two points to resume from")
    return parser


def job_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of a job: encoder, corpus, columns and precision."""
    parser.add_argument("model", help="released folder, such as models/onnx")
    parser.add_argument("corpus", type=Path, help="folder of parquet files, at the same place on all hosts")
    parser.add_argument("--id", default="id", help="column of the ids; default: %(default)s")
    parser.add_argument("--text", nargs="+", default=["text"], help="columns of the text, such as title text")
    parser.add_argument("--precision", choices=WAYS, default="fp32", help="bf16 needs openvino; default: %(default)s")


def job_of(given: argparse.Namespace) -> Job:
    """Returns the job that the arguments describe."""
    return Job(str(Path(given.model).resolve()), given.precision, given.id, tuple(given.text))


def read(files: Sequence[str], job: Job) -> pa.Table:
    """Reads what a job needs of some files."""
    return pa.concat_tables([pq.read_table(file, columns=job.read) for file in files])
