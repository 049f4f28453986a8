"""Puts the files from which `attune new` makes a repository into the wheel; all else stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKED = Path("attune/cli/repository/product")
NAMES = ("dvc.yaml", "params.yaml", "advanced.yaml", "libraries.yaml", "constraints.txt", "data/general")


class BuildWithProduct(build_py):
    """Copies attune's own pipeline, parameters, versions and general text beside the code that reads them."""

    def run(self) -> None:
        """Builds the package; an editable installation reads these files where they are."""
        super().run()
        if self.editable_mode:
            return
        for name in NAMES:
            copy = Path(self.build_lib) / PACKED / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if Path(name).is_dir():
                shutil.copytree(name, copy, dirs_exist_ok=True)
            else:
                shutil.copyfile(name, copy)


setup(cmdclass={"build_py": BuildWithProduct})
