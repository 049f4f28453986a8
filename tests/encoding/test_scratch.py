"""Scratch folders: a run never goes on from what other code left."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from import_closure import SOURCE, closure

TESTS = Path(__file__).resolve().parents[1]
ENCODERS = "src/attune/encoding/encoders.py"  # torch encoders: embed loads them at their first use
THREADS = "src/attune/encoding/torch_threads.py"
VERIFY = "src/attune/runtime/integrity.py"  # loaded when `attune.runtime.verify` is first used; these stages never do
CLIENT = "src/attune/endpoints/client.py"  # loaded when an encoder behind an endpoint is first asked


# the modules that a run of a stage loads, and the files of dvc.yaml that it does not
RUNS: dict[str, tuple[list[str], set[str]]] = {
    "train": (["attune.stages.train"], set()),
    "embed with torch": (
        ["attune.stages.embed", "attune.encoding.torch_threads", "attune.encoding.encoders", "attune.runtime.embedder"],
        {VERIFY, CLIENT},
    ),
    "embed": (["attune.stages.embed", "attune.runtime.embedder"], {VERIFY, ENCODERS, THREADS, CLIENT}),
}


def loaded(python: Path, modules: list[str]) -> set[str]:
    """Returns the files of attune that a process has loaded after it has imported some modules."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (SOURCE, TESTS)))}
    command = [python, "-m", "loaded_files", *modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {Path(file).relative_to(SOURCE.parent).as_posix() for file in json.loads(done.stdout)}


@pytest.mark.parametrize("run", RUNS)
def test_every_file_that_a_stage_imports_names_its_scratch_folder(warm_stages: Path, run: str) -> None:
    """The loaded files are those that dvc.yaml lists for the stage, but for the parts that it does not use."""
    modules, unused = RUNS[run]
    listed = closure(SOURCE / "attune" / "stages" / f"{run.partition(' ')[0]}.py") - unused
    assert {file for file in loaded(warm_stages, modules) if not file.endswith("__init__.py")} == {
        file for file in listed if not file.endswith("__init__.py")
    }
