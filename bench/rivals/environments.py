"""Makes pinned environments, at their first use, for systems that cannot be installed beside attune."""

import importlib.util
import subprocess
from pathlib import Path
from types import ModuleType

from bench.section import ROOT, Section


def module(path: str) -> ModuleType:
    """Imports a file of the project that belongs to no package, such as tests/miniature.py."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def python(section: Section, name: str, pins: Path) -> Path | None:
    """Returns the interpreter of an environment with the packages in `pins`; None, noted in the section, on failure."""
    try:
        path: Path = module("tests/consumers/environments.py").python_environment(pins, ROOT / "scratch/consumers")
    except (OSError, subprocess.CalledProcessError) as error:
        section.leave_out(f"{name}, whose environment cannot be made ({error})")
        return None
    return path
