"""Ray and Spark encode a corpus as one process does, and lose nothing with a killed worker (`make test-consumers`)."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from environments import python_environment
from roster import DRIVERS, ROOT, SCRATCH

from attune.runtime import Embedder
from attune.runtime.search import Search
from attune.runtime.vector_files import build_index

EXAMPLE = ROOT / "examples" / "scale"
N, FILES = 480, 6
WORDS = "sort the values of an array in descending order along its last axis and return a copy".split()

pytestmark = pytest.mark.consumers


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """Documents of 1 to 30 words."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, n)) for n in rng.integers(0, 30, N)]
    return pl.DataFrame({"id": [f"d{n:03}" for n in range(N)], "title": ["numpy"] * N, "text": texts})


def processes_with(token: str) -> list[str]:
    """Returns the processes that have a text in their environment, and so were started by one that had."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "environ").read_bytes() and process.name != str(os.getpid()):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:200])
        except OSError:  # ended, or another user's
            continue
    return found


@pytest.mark.parametrize("engine", ["ray", "spark"])
def test_an_engine_computes_the_bytes_of_one_process_though_a_worker_is_killed(
    engine: str, corpus: pl.DataFrame, tiny_onnx: Path, tmp_path: Path
) -> None:
    """Each worker loads the encoder once; every document is there once; no process of the engine is left."""
    if engine == "spark" and shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("no Java: Spark cannot run; Debian: apt-get install openjdk-17-jre-headless")
    for place in ("corpus", "events"):
        (tmp_path / place).mkdir()
    for n, part in enumerate(corpus.iter_slices(N // FILES)):
        part.write_parquet(tmp_path / "corpus" / f"{n}.parquet", row_group_size=20)
    python = python_environment(EXAMPLE / f"{engine}.txt", SCRATCH)
    paths = os.pathsep.join(str(path) for path in (ROOT / "src", EXAMPLE, DRIVERS))
    own = {"PYTHONPATH": paths, "ATTUNE_ENGINE_OF": str(tmp_path), "PYSPARK_PYTHON": str(python)}
    own |= {"RAY_USAGE_STATS_ENABLED": "0", "SPARK_LOCAL_IP": "127.0.0.1"}
    names = [str(tmp_path / name) for name in ("corpus", "out", "events")]
    command = [python, "-c", "import scale_engine; scale_engine.main()", engine, tiny_onnx, *names, "d150"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | own, check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]

    vectors = pl.read_parquet(tmp_path / "out" / "step-*" / "*.parquet").sort("id")
    assert vectors["id"].to_list() == corpus["id"].to_list()
    texts = [f"numpy {text}".strip() for text in corpus["text"]]
    expected = Embedder(tiny_onnx, threads=1).encode_document(texts, batch_size=1)
    assert np.array(vectors["vector"].to_list(), dtype=np.float32).tobytes() == expected.tobytes()

    killed = (tmp_path / "events" / "killed").read_text()
    counts = [tuple(map(int, file.read_text().split())) for file in (tmp_path / "events").glob("[0-9]*")]
    assert killed and len(counts) >= 2
    assert {loads for loads, _ in counts} == {1} and max(batches for _, batches in counts) > 1

    index = build_index(tmp_path / "out")
    assert index.top(expected[:5], 3) == Search.build(expected, corpus["id"].to_list()).top(expected[:5], 3)
    for _ in range(600):
        if not (left := processes_with(str(tmp_path))):
            break
        time.sleep(0.2)
    assert left == []
