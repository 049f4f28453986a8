"""torchrun starts a stage's own command on several processes, as the README says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from shared_jobs import embed_arguments, embed_params
from training import sha256, task

from attune.stages.embed import embed

ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def options(arguments: dict[str, Any]) -> list[str]:
    return [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def test_embeddings_made_under_torchrun_are_those_of_one_process(
    tmp_path: Path, tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the byte; the receipt is written once."""
    monkeypatch.chdir(tmp_path)
    task(tmp_path, tiny_encoder)
    shutil.copytree("dev_split", "splits/train")
    YAML().dump({"embed": embed_params(2).model_dump()}, Path("params.yaml"))
    shared = options(embed_arguments(tmp_path, "shared") | {"receipt": tmp_path / "receipt.json"})
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, "-m", "attune.stages.embed", *shared]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    embed(embed_params(1), **embed_arguments(tmp_path, "alone"))
    assert {path.name for path in Path("alone").iterdir()} == {"corpus.npy", "train.npy"}
    assert sha256(Path("shared")) == sha256(Path("alone"))
    assert Path("receipt.json").is_file()
