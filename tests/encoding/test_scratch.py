"""Scratch folders: a run never goes on from what other code left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from import_closure import SOURCE, closure

# imports the slow libraries once, and each stage in a fork
LOADED = """
import importlib, json, os, sys
import sentence_transformers
for names in json.loads(sys.argv[1]):
    if os.fork() == 0:
        for name in names:
            importlib.import_module(name)
        from attune.encoding.scratch import code_files
        print(json.dumps([str(file) for file in code_files()]), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
ENCODERS = "src/attune/encoding/encoders.py"  # torch encoders: embed loads them at their first use
VERIFY = "src/attune/runtime/integrity.py"  # loaded when `attune.runtime.verify` is first used; these stages never do
CLIENT = "src/attune/endpoints/client.py"  # loaded when an encoder behind an endpoint is first asked


# the modules that a run of a stage loads, and the files of dvc.yaml that it does not
RUNS: dict[str, tuple[list[str], set[str]]] = {
    "train": (["attune.stages.train"], set()),
    "embed with torch": (
        ["attune.stages.embed", "attune.encoding.encoders", "attune.runtime.embedder"],
        {VERIFY, CLIENT},
    ),
    "embed": (["attune.stages.embed", "attune.runtime.embedder"], {VERIFY, ENCODERS, CLIENT}),
}


@pytest.fixture(scope="module")
def loaded() -> dict[str, set[str]]:
    """Returns the files of attune that each run has loaded."""
    command = [sys.executable, "-c", LOADED, json.dumps([modules for modules, _ in RUNS.values()])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SOURCE)
    files = [json.loads(line) for line in done.stdout.splitlines()]
    relative = [{Path(file).relative_to(SOURCE.parent).as_posix() for file in found} for found in files]
    return dict(zip(RUNS, relative, strict=True))


@pytest.mark.parametrize("run", RUNS)
def test_every_file_that_a_stage_imports_names_its_scratch_folder(loaded: dict[str, set[str]], run: str) -> None:
    """The loaded files are those that dvc.yaml lists for the stage, but for the parts that it does not use."""
    listed = closure(SOURCE / "attune" / "stages" / f"{run.partition(' ')[0]}.py") - RUNS[run][1]
    assert {file for file in loaded[run] if not file.endswith("__init__.py")} == {
        file for file in listed if not file.endswith("__init__.py")
    }
