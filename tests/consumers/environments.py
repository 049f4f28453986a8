"""Environments of the consumers, created under scratch/consumers and again when their pins change."""

import shutil
import subprocess
import venv
from pathlib import Path

PINS = "pins.txt"  # copy of an environment's pins; written last, so an incomplete environment is created again


def python_environment(pins: Path, root: Path) -> Path:
    """Returns the interpreter of a virtual environment with the packages in `pins`, a list of name==version."""
    home = root / pins.stem
    if _stale(home, pins):
        venv.create(home, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", pins], check=True)
        shutil.copyfile(pins, home / PINS)
    return home / "bin" / "python"


def node_environment(pins: Path, root: Path) -> Path:
    """Returns a folder whose node_modules has the packages in `pins`; their install scripts do not run."""
    home = root / pins.stem
    if _stale(home, pins):
        home.mkdir(parents=True)
        (home / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        packages = [line.replace("==", "@") for line in pins.read_text(encoding="utf-8").split()]
        quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(["npm", "install", "--save-exact", *quiet, *packages], cwd=home, check=True)
        shutil.copyfile(pins, home / PINS)
    return home


def _stale(home: Path, pins: Path) -> bool:
    made_from = home / PINS
    if made_from.is_file() and made_from.read_bytes() == pins.read_bytes():
        return False
    shutil.rmtree(home, ignore_errors=True)
    return True
