"""Environments for rivals that cannot live in attune's own: theirs alone, pinned, made when they are first needed."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

from bench.section import ROOT, Section


def module(path: str) -> ModuleType:
    """A file of the project that belongs to no package, such as tests/miniature.py."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def python(section: Section, name: str, pins: Path) -> Path | None:
    """The interpreter of the environment that has what `pins` lists; None, and a line, where it cannot be made."""
    try:
        found: Path = module("tests/consumers/environments.py").python_environment(pins, ROOT / "scratch/consumers")
    except (OSError, subprocess.CalledProcessError) as error:
        section.leave_out(f"{name}, whose environment cannot be made ({error})")
        return None
    return found
