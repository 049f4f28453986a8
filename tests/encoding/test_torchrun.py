"""Stages under torchrun, started by the user as on several hosts, and by the stage itself on one."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from shared_jobs import embed_arguments, embed_params
from training import sha256, task
from warm_python import workers

from attune.stage import AfterCommit
from attune.stages.embed import SPLITS_OF, embed

ROOT = Path(__file__).resolve().parents[2]
ALONE: list[str] = []
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def options(arguments: dict[str, Any]) -> list[str]:
    return [text for name, value in arguments.items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("launcher", [ALONE, TORCHRUN], ids=["by the stage", "by torchrun"])
def test_embeddings_of_a_shared_stage_are_those_of_one_process(
    tmp_path: Path,
    tiny_encoder: Path,
    tiny_onnx: Path,
    warm_stages: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: list[str],
) -> None:
    """To the byte; the receipt is written once, and stderr stays empty where the stage starts its processes itself.

    The graph is scored; test_processes shares torch's encoder. Launcher and processes are forks, which start at once;
    test_launch starts interpreters.
    """
    monkeypatch.chdir(tmp_path)
    task(tmp_path, tiny_encoder)
    for split in SPLITS_OF["tuned"]:
        shutil.copytree("dev_split", f"splits/{split}")
    params = embed_params(2).model_dump()
    YAML().dump({"machine": params.pop("machine"), "embed": params}, Path("params.yaml"))
    of_graph = {"system": "tuned", "exported": tiny_onnx}
    shared = options(embed_arguments(tmp_path, "shared") | of_graph | {"receipt": tmp_path / "receipt.json"})
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    environment |= workers(warm_stages.parent)
    command = [str(warm_stages), *launcher, "-m", "attune.stages.embed", *shared]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert launcher == TORCHRUN or not done.stderr
    embed(embed_params(1), **embed_arguments(tmp_path, "alone") | of_graph, after=AfterCommit())
    assert {path.stem for path in Path("alone").iterdir()} == {"corpus", *SPLITS_OF["tuned"]}
    assert sha256(Path("shared")) == sha256(Path("alone"))
    assert Path("receipt.json").is_file()
