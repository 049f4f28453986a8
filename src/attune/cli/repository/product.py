"""The files from which a repository is made: attune's own pipeline, parameters, versions and general text.

They lie at the root of a checkout; a wheel carries copies of them (setup.py).
"""

from pathlib import Path

from attune.errors import BadInput

PACKED = Path(__file__).with_name("product")
CHECKOUT = Path(__file__).resolve().parents[4]
GENERAL = "data/general"  # text of the probe and of the floors
NAMES = ("dvc.yaml", "params.yaml", "advanced.yaml", "libraries.yaml", "constraints.txt")
FILES = Path(__file__).with_name("files")  # written as they are


def product_file(name: str) -> Path:
    """Returns the path of one of attune's own files, by its path in the project.

    Raises:
        BadInput: the installation lacks it.
    """
    root = PACKED if PACKED.is_dir() else CHECKOUT
    if not (root / name).exists():
        raise BadInput(f"{root / name}: not found; install attune from a wheel or from git again")
    return root / name


def product_text(name: str) -> str:
    """Returns the text of one of attune's own files."""
    return product_file(name).read_text(encoding="utf-8")


def template(name: str) -> str:
    """Returns the text of a file that a new repository gets."""
    return (FILES / name).read_text(encoding="utf-8")
