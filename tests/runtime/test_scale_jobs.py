"""Jobs of examples/scale: a vector depends on nothing but its text, a job resumes by steps, other jobs are refused."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.search import Search

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "scale"))

import in_one_process
import index
import jobs

TEXTS = ["sort an array", "", "water the flowers in the garden every morning", "the shortest path", "copy", "a file"]
IDS = [f"d{n}" for n in range(len(TEXTS))]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three files of two documents."""
    (tmp_path / "corpus").mkdir()
    for n in range(3):
        part = slice(2 * n, 2 * n + 2)
        table = pl.DataFrame({"id": IDS[part], "title": ["on", ""], "text": TEXTS[part]})
        table.write_parquet(tmp_path / "corpus" / f"{n}.parquet")
    return tmp_path / "corpus"


@pytest.fixture
def job(tiny_onnx: Path) -> jobs.Job:
    """Title and text, by the tiny encoder."""
    return jobs.Job(str(tiny_onnx), "fp32", "id", ("title", "text"))


def test_a_vector_depends_on_its_text_alone(job: jobs.Job, tiny_onnx: Path) -> None:
    """Any cut and order of the documents gives the runtime's bytes of each text by itself."""
    expected = Embedder(tiny_onnx, threads=1).encode_document([f"on {text}".strip() for text in TEXTS], batch_size=1)
    table = pa.table({"id": IDS, "title": ["on"] * len(IDS), "text": TEXTS})
    for rows in ([0, 1, 2, 3, 4, 5], [5, 0], [3], [4, 2, 1]):
        found = job.encode(table.take(rows))
        assert found["id"].to_pylist() == [IDS[row] for row in rows]
        assert np.array(found["vector"].to_pylist(), dtype=np.float32).tobytes() == expected[rows].tobytes()


class Engine:
    """One process that notes what it encodes, and dies after a file, if it is given one."""

    def __init__(self, dies_after: str = "") -> None:
        self.encoded: list[str] = []
        self._dies_after = dies_after

    def encode(self, job: jobs.Job, files: list[str], out: str) -> None:
        self.encoded += [Path(file).stem for file in files]
        in_one_process.encode(job, files, out)
        if self.encoded[-1] == self._dies_after:
            raise KeyboardInterrupt


def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Builds the index of the job as the command line does."""
    monkeypatch.setattr(sys, "argv", ["index.py", str(tmp_path / "out"), str(tmp_path / "index")])
    index.main()


def test_a_job_resumes_after_its_last_finished_step(
    job: jobs.Job, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps that a dead job had finished stay, those it had begun are done anew, and the index has every document."""
    with pytest.raises(KeyboardInterrupt):
        jobs.run(job, corpus, tmp_path / "out", 1, Engine(dies_after="1").encode)
    with pytest.raises(SystemExit, match="not all of 3 steps are done; run the encoding job again"):
        build(monkeypatch, tmp_path)
    record = (tmp_path / "out" / "job.json").read_text(encoding="utf-8")
    for damaged in (record[:-9], "{}"):
        (tmp_path / "out" / "job.json").write_text(damaged, encoding="utf-8")
        with pytest.raises(SystemExit, match=r"out/job\.json: no record of an encoding job; give a folder that such"):
            build(monkeypatch, tmp_path)
    (tmp_path / "out" / "job.json").write_text(record, encoding="utf-8")
    second = Engine()
    assert jobs.run(job, corpus, tmp_path / "out", 1, second.encode) == 6
    assert second.encoded == ["1", "2"]
    third = Engine()
    assert jobs.run(job, corpus, tmp_path / "out", 1, third.encode) == 6
    assert third.encoded == []

    build(monkeypatch, tmp_path)
    embedder = Embedder(job.model, threads=1)
    loaded = Search.load(tmp_path / "index", embedder.fingerprint)
    queries = embedder.encode_document(["the shortest path", "a file"])
    assert len(loaded) == 6 and [hits[0][0] for hits in loaded.top(queries, 1)] == ["d3", "d5"]


def test_a_folder_holds_one_job(job: jobs.Job, corpus: Path, tmp_path: Path) -> None:
    """Vectors of another encoder, corpus or cut never come beside others; two jobs never write at once."""
    out = tmp_path / "out"
    jobs.run(job, corpus, out, 2, Engine().encode)
    with pytest.raises(BadInput, match=r"job\.json: of another job \(files_per_step differ\)"):
        jobs.run(job, corpus, out, 1, Engine().encode)
    with pytest.raises(BadInput, match=r"of another job \(precision, columns differ\)"):
        jobs.run(jobs.Job(job.model, "int8", "id", ("text",)), corpus, out, 2, Engine().encode)
    with pytest.raises(BadInput, match=r"--files-per-step: got 0, expected 1 or more"):
        jobs.run(job, corpus, out, 0, Engine().encode)
    second = corpus / "2.parquet"
    content = second.read_bytes()
    second.write_bytes(content.replace(b"copy", b"cope"))
    assert len(second.read_bytes()) == len(content) and second.read_bytes() != content
    with pytest.raises(BadInput, match=r"of another job \(corpus differ\)"):
        jobs.run(job, corpus, out, 2, Engine().encode)
    second.unlink()
    with pytest.raises(BadInput, match=r"of another job \(corpus differ\)"):
        jobs.run(job, corpus, out, 2, Engine().encode)

    def begins_another(job: jobs.Job, files: list[str], partial: str) -> None:
        jobs.run(job, corpus, Path(partial).parent, 2, Engine().encode)

    with pytest.raises(BadInput, match="another process is encoding into it"):
        jobs.run(job, corpus, tmp_path / "other", 2, begins_another)


@pytest.mark.parametrize("given", [[1, 2], [0, 1, 2, 3]], ids=["lost", "doubled"])
def test_a_step_without_all_documents_is_no_step(given: list[int], job: jobs.Job, corpus: Path, tmp_path: Path) -> None:
    """An engine that lost a file, or wrote its documents twice, is found by the number of rows."""

    def errs(job: jobs.Job, files: list[str], out: str) -> None:
        twice = tmp_path / "twice.parquet"
        twice.write_bytes(Path(files[0]).read_bytes())
        in_one_process.encode(job, [[*files, str(twice)][n] for n in given], out)

    with pytest.raises(BadInput, match=r"_step-00000: [48] vectors for 6 documents; run again"):
        jobs.run(job, corpus, tmp_path / "out", 3, errs)
    assert not (tmp_path / "out" / "step-00000").exists()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("text", ["a", None], r"document 'd1' has no text, expected one in each; fill or drop it"),
        ("id", [1, 2], r"column id is int64, expected string; convert it"),
    ],
)
def test_a_document_that_cannot_be_embedded_is_named(
    job: jobs.Job, column: str, values: list[object], message: str
) -> None:
    """Its id and column stand in the line, also out of the report that an engine makes of a worker's failure."""
    table = pa.table({"id": ["d0", "d1"], "title": ["", ""], "text": ["a", "b"]} | {column: values})
    with pytest.raises(BadInput, match=message) as raised:
        job.encode(table)
    report = RuntimeError(f"Task failed\nTraceback ...\nattune.errors.BadInput: {raised.value}\n  at Executor.java:7")
    assert jobs.reason(report) == str(raised.value)


def test_a_worker_takes_no_other_version_of_the_folder(job: jobs.Job, corpus: Path, tmp_path: Path) -> None:
    """On its host another release may lie at the same place, or a damaged file of this one."""
    folder = tmp_path / "model"
    shutil.copytree(job.model, folder)
    there = dataclasses.replace(job, model=str(folder))

    def changes(file: str, old: str, new: str) -> jobs.Encode:
        def encode(job: jobs.Job, files: list[str], out: str) -> None:
            jobs.embedder.cache_clear()  # another process
            text = (folder / file).read_text(encoding="utf-8")
            (folder / file).write_text(text.replace(old, new), encoding="utf-8")
            in_one_process.encode(job, files, out)

        return encode

    with pytest.raises(BadInput, match=r"model/config\.json: sha256 is "):
        jobs.run(there, corpus, tmp_path / "out", 3, changes("config.json", "{", "{ "))
    shutil.copyfile(Path(job.model) / "config.json", folder / "config.json")
    with pytest.raises(BadInput, match=r"model: release \w{12} on host .+, expected \w{12}; copy the job's folder"):
        jobs.run(there, corpus, tmp_path / "out", 3, changes("manifest.json", "{", "{ "))


def test_a_corpus_without_the_columns_is_refused_before_anything_runs(
    corpus: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    """The line has the columns that are there."""
    engine = Engine()
    with pytest.raises(BadInput, match=r"0\.parquet: columns are id, title, text; expected body; name them"):
        jobs.run(jobs.Job(str(tiny_onnx), "fp32", "id", ("body",)), corpus, tmp_path / "out", 3, engine.encode)
    assert engine.encoded == []
