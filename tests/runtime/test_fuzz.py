"""Mutated model folders and indexes are read or refused in one line; nothing outside the folder is opened."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from attune.runtime import Embedder
from attune.runtime.search import Search

HERE = Path(__file__).resolve().parent
N_MUTATIONS = int(os.environ.get("ATTUNE_FUZZ", "2000"))
FIRST = int(os.environ.get("ATTUNE_FUZZ_FIRST", "0"))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A folder for the cases, and one beside it that nobody may open."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "cases").mkdir()
    (tmp_path / "outside" / "secret.json").write_text('{"secret": 1}')
    os.mkfifo(tmp_path / "cases" / "fifo")
    return tmp_path


@pytest.fixture
def index(tiny_onnx: Path, tmp_path: Path) -> Path:
    embedder = Embedder(tiny_onnx, threads=1)
    words = [f"{first} {second}" for first in ("red", "blue", "cat") for second in ("sea", "tree", "road", "king")]
    made = Search.build(embedder.encode_document(words), words, embedder.fingerprint, "HNSW4")
    made.save(tmp_path / "index")
    return tmp_path / "index"


def fuzz(model: Path, index: Path, scratch: Path, first: int, number: int, code: str = "") -> list[tuple[int, list]]:
    """Runs mutations in a process of their own; returns the seed and the record of each."""
    script = f"import fuzzing\n{code}\nfuzzing.main()"
    command = [sys.executable, "-c", script, *map(str, (model, index, scratch, first, number))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600 + number, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"after {lines[-1:]}: {done.stderr[-2000:]}"
    return [(int(seed), json.loads(record)) for seed, record in zip(lines[::2], lines[1::2], strict=True)]


def test_mutated_folders_are_read_or_refused(tiny_onnx: Path, index: Path, scratch: Path) -> None:
    """No traceback, no crash, no hang, no second line, no open outside; $ATTUNE_FUZZ sets the number of mutations."""
    results = fuzz(tiny_onnx, index, scratch, FIRST, N_MUTATIONS)
    assert len(results) == N_MUTATIONS
    faults = [(seed, record) for seed, record in results if record[1] not in ("read", "refused")]
    assert not faults, f"{len(faults)} faults, the first: seed {faults[0][0]}, {faults[0][1][0]}\n{faults[0][1][1]}"
    assert [(seed, record) for seed, record in results if record[2] or record[3]] == []
    counts = Counter((record[0], record[1]) for _, record in results)
    sys.stdout.write(f"{sorted(counts.items())}\n")  # pytest -s shows it
    # neither reader refuses or reads everything, so mutations reach what comes after the first checks; golden vectors
    # of other texts are never reached
    assert all(counts[kind, "refused"] for kind in ("manifest", "golden", "tokenizer", "index"))
    assert all(counts[kind, "read"] for kind in ("manifest", "tokenizer", "index")), counts


WRONG = """
read = fuzzing.read_model
def read_model(folder):
    if folder.name != "case":
        return read(folder)
    WRONG
fuzzing.read_model = read_model
"""


@pytest.mark.parametrize(
    ("code", "seen"),
    [
        ("{}['no such key']", (True, False, False)),
        ("open('/etc/hostname').close()", (False, True, False)),
        (
            "import ctypes; libc = ctypes.CDLL(None); "
            "libc.close(libc.open(str(folder.parents[1] / 'outside/secret.json').encode(), 0))",
            (False, False, True),
        ),
    ],
    ids=["a traceback", "an open of Python's", "an open of a library's"],
)
def test_the_fuzzer_sees_planted_faults(
    tiny_onnx: Path, index: Path, scratch: Path, code: str, seen: tuple[bool, bool, bool]
) -> None:
    """A traceback of another kind, an open seen by the audit hook, and one seen by the kernel alone."""
    results = fuzz(tiny_onnx, index, scratch, 0, 12, WRONG.replace("WRONG", code))
    records = [record for _, record in results if record[0] != "index"]
    assert records
    for _, result, opened, n_events in records:
        assert ("KeyError" in result, bool(opened), bool(n_events)) == seen
