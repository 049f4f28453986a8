"""Runs stages of a finished pipeline with their outputs on a disk that is too small, and prints how each ended.

As a program, in a mount namespace of its own, which ends with it: `unshare --map-root-user --mount python
tests/full_disks.py PIPELINE FOLDER STAGE=KIBIBYTES ...`. A stage is named as in dvc.lock; `/` after the name puts its
scratch folder on the disk, too. Prints JSON: by stage the exit code, stderr, and the files that it left on the disk.
"""

import json
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from command_lines import run_here
from ruamel.yaml import YAML


def run_stage(pipeline: Path, folder: Path, name: str, kibibytes: int) -> dict[str, Any]:
    """Runs one stage in a copy of the pipeline that is made of links, its outputs in folder/disk."""
    project, disk = folder / name.replace("/", "-"), folder / "disk"
    project.mkdir()
    for path in pipeline.iterdir():
        if path.name != "scratch":
            (project / path.name).symlink_to(path)
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", disk], check=True)
    if name.endswith("/"):
        (disk / "scratch").mkdir()
        (project / "scratch").symlink_to(disk / "scratch")
    stage = YAML(typ="safe").load((pipeline / "dvc.lock").read_text())["stages"][name.removesuffix("/")]
    outs = {out["path"] for out in stage["outs"]}
    words = shlex.split(stage["cmd"])
    module, arguments = words[words.index("-m") + 1], words[words.index("-m") + 2 :]
    done = run_here(
        lambda: runpy.run_module(module, run_name="__main__"),
        project,
        *(f"{disk}/{word}" if word in outs else word for word in arguments),
    )
    left = [str(path.relative_to(disk)) for path in disk.rglob("*") if path.is_file()]
    subprocess.run(["umount", "--lazy", disk], check=True)
    return {"code": done.returncode, "stderr": done.stderr, "left": sorted(left)}


def main() -> None:
    """Runs the stages one after the other."""
    pipeline, folder, *stages = sys.argv[1:]
    results = {}
    for each in stages:
        name, _, kibibytes = each.partition("=")
        results[name] = run_stage(Path(pipeline).resolve(), Path(folder).resolve(), name, int(kibibytes))
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
