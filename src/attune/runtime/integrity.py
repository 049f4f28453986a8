"""Is this the encoder that was exported, and does it compute here what it computed there?"""

import hashlib
import json
from pathlib import Path

import numpy as np

from attune.errors import BadInput
from attune.runtime.embedder import Embedder
from attune.runtime.manifest import read_manifest

GOLDEN = "golden.json"


def verify(folder: Path | str, threads: int | None = None) -> None:
    """Checks every file's sha256 against the manifest, then every graph against the golden vectors.

    The golden vectors are torch's, for texts kept beside them; each graph must reach its least cosine to them, so
    a machine on which int8 arithmetic saturates is found out too.

    Raises:
        BadInput: names the first file that is missing, differs, or computes something else on this machine.
    """
    folder = Path(folder)
    verify_files(folder)
    golden = json.loads((folder / GOLDEN).read_text(encoding="utf-8"))
    vectors = np.array(golden["vectors"], dtype=np.float32)
    for name, limit in golden["min_cosine"].items():
        least = float((Embedder(folder, name, threads).encode(golden["texts"]) * vectors).sum(axis=1).min())
        if not least >= limit:
            raise BadInput(
                f"{folder / name}: least cosine to the golden vectors is {least:.6f}, expected {limit} or more; "
                "this machine or this onnxruntime computes something else: use another graph or version"
            )


def verify_files(folder: Path) -> None:
    """Checks every file's sha256 against the manifest, and computes nothing.

    Raises:
        BadInput: names the first file that is missing or differs.
    """
    for name, expected in sorted(read_manifest(folder).files.items()):
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{path}: not found, but listed in the manifest; fetch the encoder again")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != expected["sha256"]:
            raise BadInput(f"{path}: sha256 is {got}, expected {expected['sha256']}; fetch the encoder again")
