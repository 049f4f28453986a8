"""The data can be used: none of the checks that would stop a run or mislead a figure fails on them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Checks of `attune check` that have to pass; the others advise. docs/gate.md of attune says what each looks at.
REQUIRED = {"ATT031", "ATT032", "ATT034", "ATT036", "ATT037", "ATT039"}


def test_the_data_pass_their_checks() -> None:
    """`attune check` reads the data that params.yaml names and fails none of the required checks."""
    if any(not file.with_suffix("").exists() for file in Path("data/own").glob("*.dvc")):
        pytest.skip("the data are not here: dvc pull")
    command = [sys.executable, "-m", "attune", "check", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert {
        row["title"]: row["sentence"] for code, row in checks.items() if code in REQUIRED and row["status"] == "failed"
    } == {}
