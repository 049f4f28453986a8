"""Runs the pipeline in another folder: same stages and code, other parameters.

As a program: `make smoke` (300 documents) and `make example` (a recipe of examples/ on its data). Tests use it for
everything that needs a finished pipeline.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
PARAMETERS = ("params.yaml", "advanced.yaml")
COPIED = (
    "dvc.yaml",
    *PARAMETERS,
    "libraries.yaml",
    "constraints.txt",
    ".dvcignore",
    "src",
    "data/own",
    "models/champions",
    "models/rerankers",
    "data/general",
    "data/tasks",
)
# what commands measured on other data says nothing here
OF_COMMANDS = ("metrics/judged.json", "metrics/times.json")


def write_params(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Copies the project's two parameter files into a folder, with changes."""
    for name in PARAMETERS:
        shutil.copy(ROOT / name, folder / name)
    change(folder, changes)


def change(folder: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Changes parameters of a pipeline, each in the file that has it; adds new keys to advanced.yaml."""
    yaml = YAML()
    yaml.width = 4096
    files = [folder / "params.yaml", folder / "advanced.yaml"]
    contents = [yaml.load(file.read_text()) for file in files]
    for section, values in changes.items():
        for key, value in values.items():
            target = next((content for content in contents if key in content.get(section, {})), contents[-1])
            target.setdefault(section, {})[key] = value
    for file, content in zip(files, contents, strict=True):
        with file.open("w") as stream:
            yaml.dump(content, stream)


PYTHON_FOLDER = "ATTUNE_PYTHON_FOLDER"  # environment variable of tests
# the suite's two processes share two cores; fp32 makes the same verdicts on every class of CPU
ONE_THREAD = {"machine": {"threads": 1, "precision": "fp32"}}
MINIATURE = ROOT / "examples" / "miniature.yaml"


def make(
    folder: Path,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
    recipe: Path = MINIATURE,
    parameters: Path | None = None,
) -> None:
    """Copies the pipeline into a folder, with its own cache and without git; outputs of earlier runs there stay.

    Args:
        folder: for the copy.
        changes: of parameters, beyond those of the recipe.
        recipe: file with the parameters that differ from the defaults.
        parameters: folder with params.yaml and advanced.yaml, which the recipe changes; None takes this checkout's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        source = ((parameters or ROOT) if name in PARAMETERS else ROOT) / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.rmtree(folder / name, ignore_errors=True)
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    (folder / "metrics").mkdir(exist_ok=True)
    for name in OF_COMMANDS:
        (folder / name).write_text("{}\n", encoding="utf-8")
    (folder / ".dvc").mkdir(exist_ok=True)
    (folder / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    change(folder, YAML(typ="safe").load(recipe.read_text()))
    change(folder, changes or {})


def dvc(folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs dvc in a pipeline's folder; `python` is this interpreter, or that in $PYTHON_FOLDER, as is `dvc` then."""
    python = os.environ.get(PYTHON_FOLDER, str(Path(sys.executable).parent))
    path = os.pathsep.join([python, os.environ.get("PATH", "")])
    own = [sys.executable, str(ROOT / "tests" / "quick_dvc.py")]
    command = [*([f"{python}/dvc"] if PYTHON_FOLDER in os.environ else own), *arguments]
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        raise AssertionError(f"dvc {' '.join(arguments)} exited with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def main() -> None:
    """Copies and runs a pipeline, with its output on the terminal: FOLDER [RECIPE DATA].

    Saves the figures of a recipe beside it, for the table in docs/benchmarks.md.
    """
    folder, *example = sys.argv[1:]
    recipe, data = map(Path, example) if example else (MINIATURE, None)
    if data and not data.exists():
        raise SystemExit(f"attune: {data}: not found; pass the folder or file with the data, DATA=...")
    make(Path(folder), {"collect": {"path": str(data.resolve())}} if data else None, recipe)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "attune.cli.repro"]
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=False)
    if done.returncode:
        print("attune: the pipeline failed, see above")
        raise SystemExit(done.returncode)
    if data:
        shutil.copy(Path(folder) / "metrics" / "report.json", recipe.with_suffix(".json"))
    print(f"attune: done; read {folder}/metrics/report.md")


if __name__ == "__main__":
    main()
