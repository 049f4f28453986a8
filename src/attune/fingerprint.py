"""What tells a run from every other: the name of its scratch folder."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path


def fingerprint(knobs: object, libraries: Sequence[str], files: Sequence[Path]) -> str:
    """A hash of a run's knobs, the versions of its libraries, and the bytes of its data and code: 16 hex digits."""
    versions = [f"{name}={version(name)}" for name in libraries]
    digest = hashlib.sha256(repr((knobs, versions)).encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
