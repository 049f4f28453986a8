"""Scratch folders: a run never goes on from what other code left."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from test_pipeline import SOURCE, closure

LOADED = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from attune.encoding.scratch import code_files
print(json.dumps([str(file) for file in code_files()]))
"""


ENCODERS = "src/attune/encoding/encoders.py"  # torch encoders: embed loads them at their first use
VERIFY = "src/attune/runtime/integrity.py"  # loaded when `attune.runtime.verify` is first used; these stages never do


@pytest.mark.parametrize(
    ("stage", "later", "unused"),
    [
        ("train", (), set()),
        ("embed", ("attune.encoding.encoders",), {VERIFY}),
        ("embed", (), {VERIFY, ENCODERS}),
    ],
    ids=["train", "embed with torch", "embed"],
)
def test_every_file_that_a_stage_imports_names_its_scratch_folder(
    stage: str, later: tuple[str, ...], unused: set[str]
) -> None:
    """The loaded files are those that dvc.yaml lists for the stage, but for the parts that it does not use."""
    command = [sys.executable, "-c", LOADED, f"attune.stages.{stage}", *later]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=SOURCE)
    loaded = {Path(file).relative_to(SOURCE.parent).as_posix() for file in json.loads(done.stdout)}
    listed = closure(SOURCE / "attune" / "stages" / f"{stage}.py") - unused
    assert {file for file in loaded if not file.endswith("__init__.py")} == {
        file for file in listed if not file.endswith("__init__.py")
    }
