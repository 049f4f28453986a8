"""Each consumer's own environment: made once under scratch/consumers, again when its pins change."""

import shutil
import subprocess
import venv
from pathlib import Path

PINS = "pins.txt"  # the pins that an environment was made from; written last, so a half-made one is made again


def python_environment(pins: Path, root: Path) -> Path:
    """The interpreter of a virtual environment with the packages that file `pins` lists as name==version."""
    home = root / pins.stem
    if _stale(home, pins):
        venv.create(home, with_pip=True)
        pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", pins], check=True)
        shutil.copyfile(pins, home / PINS)
    return home / "bin" / "python"


def node_environment(pins: Path, root: Path) -> Path:
    """A folder; its node_modules holds what file `pins` lists as name==version; runs no script of theirs."""
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
