"""Names of scratch folders, from which runs resume: one per combination of parameters, libraries, data and code."""

import hashlib
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def code_files() -> list[Path]:
    """Returns every file of attune that this process has loaded, the stage itself included."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file).resolve() for file in files if file}
    return sorted(path for path in paths if path.is_relative_to(PACKAGE))


def fingerprint(params: object, libraries: Sequence[str], files: Sequence[Path]) -> str:
    """Hashes a run's parameters, the versions of its libraries, and the bytes of its data and code: 16 hex digits."""
    versions = [f"{name}={version(name)}" for name in libraries]
    digest = hashlib.sha256(repr((params, versions)).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
