"""Runs stages of a finished pipeline with their outputs on a disk that is too small, and prints how each ended.

As a program: `python -m full_disks PIPELINE FOLDER STAGE=KIBIBYTES ...`. It enters a mount namespace of its own, which
ends with it, so that it may be a fork of the warm process. A stage is named as in dvc.lock; `/` after the name puts its
scratch folder on the disk, too. Prints JSON: by stage the exit code, stderr, and the files that it left on the disk.
"""

import ctypes
import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from command_lines import run_here
from ruamel.yaml import YAML

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000  # flags of Linux's unshare


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


def enter_namespace() -> None:
    """Moves this process to user and mount namespaces of its own, as `unshare --map-root-user --mount` does.

    Raises:
        OSError: the machine allows none, or the process has several threads.
    """
    ids = os.getuid(), os.getgid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEW_USER | NEW_MOUNTS):
        raise OSError(ctypes.get_errno(), "no namespace of its own")
    Path("/proc/self/setgroups").write_text("deny")
    for name, id_ in zip(("uid", "gid"), ids, strict=True):
        Path(f"/proc/self/{name}_map").write_text(f"0 {id_} 1")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)


def main() -> None:
    """Runs the stages one after the other."""
    enter_namespace()
    pipeline, folder, *stages = sys.argv[1:]
    results = {}
    for each in stages:
        name, _, kibibytes = each.partition("=")
        results[name] = run_stage(Path(pipeline).resolve(), Path(folder).resolve(), name, int(kibibytes))
    sys.stdout.write(json.dumps(results))


if __name__ == "__main__":
    main()
