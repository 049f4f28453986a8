"""Installs attune's wheel into an empty environment, as a service does; measures size and first answer."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from bench.section import ROOT, Section, Target, table

WANTED_IMPORT_SECONDS = 0.5
# a service's first steps, timed in the empty environment
FIRST = """
import json, sys, time
start = time.perf_counter()
from attune.runtime import Embedder
imported = time.perf_counter()
embedder = Embedder(sys.argv[1])
embedder.encode_query(["stack arrays in sequence vertically"])
print(json.dumps([imported - start, time.perf_counter() - start]))
"""


def size(folder: Path) -> float:
    """Returns the size of all files in MB."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def build_wheel(folder: Path) -> Path:
    """Builds attune's wheel into a folder; returns its path."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    return next(folder.glob("attune-*.whl"))


def variables() -> dict[str, str]:
    """Returns this process's variables without Python's, as PYTHONPATH would make pip see this checkout's attune."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"}


def measure(section: Section, folder: Path) -> None:
    """Builds the wheel, installs it into an empty environment, and times import and first answer there."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        wheel = build_wheel(place)
        venv.create(place / "venv", with_pip=True)
        python = place / "venv" / "bin" / "python"
        packages = next((place / "venv" / "lib").glob("python*")) / "site-packages"
        before = size(packages)
        environment = variables()
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "-q", "--no-compile"]
        subprocess.run([*command, "-c", str(ROOT / "constraints.txt"), str(wheel)], env=environment, check=True)
        installed = sorted({path.name.split("-")[0] for path in packages.glob("*.dist-info")} - {"pip"})
        section.add(
            f"**In an empty environment**: the wheel has {wheel.stat().st_size / 1000:.0f} kB; "
            f"{size(packages) - before:.0f} MB are installed, attune itself being {size(packages / 'attune'):.1f} MB. "
            f"Packages: {', '.join(installed)}."
        )
        rows, imported = [], 0.0
        for when in ("the first time (Python compiles)", "the second time"):
            done = subprocess.run(
                [python, "-c", FIRST, folder.resolve()],
                cwd=place,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            imported, answered = json.loads(done.stdout)
            rows.append([when, f"{imported:.2f}", f"{answered:.2f}"])
        section.add(table(["from the start of Python", "import, s", "first answer, s"], rows))
        is_met = imported <= WANTED_IMPORT_SECONDS
        wanted = f"<= {WANTED_IMPORT_SECONDS} s"
        section.targets.append(Target("import of attune.runtime", wanted, f"**{imported:.2f}** s", is_met))
