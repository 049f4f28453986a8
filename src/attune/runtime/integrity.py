"""Is this the encoder that was exported, and does it compute here what it computed there?"""

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.runtime.embedder import Embedder
from attune.runtime.manifest import GRAPH, MANIFEST, read_manifest

GOLDEN = "golden.json"
NEEDED = ("config.json", GOLDEN, GRAPH, "tokenizer.json")  # without one of them there is nothing to check, or to run


def verify(folder: Path | str, threads: int | None = None) -> None:
    """Checks every file's sha256 against the manifest, then every graph against the golden vectors.

    The golden vectors are torch's, for texts kept beside them; each graph must reach its least cosine to them, so
    a machine on which int8 arithmetic saturates is found out too.

    Raises:
        BadInput: names the first file that is missing, differs, or computes something else on this machine.
    """
    folder = Path(folder)
    verify_files(folder)
    texts, vectors, limits = _golden(folder / GOLDEN)
    for name, limit in limits.items():
        least = float((Embedder(folder, name, threads).encode(texts) * vectors).sum(axis=1).min())
        if not least >= limit:
            raise BadInput(
                f"{folder / name}: least cosine to the golden vectors is {least:.6f}, expected {limit} or more; "
                "this machine or this onnxruntime computes something else: use another graph or version"
            )


def _golden(path: Path) -> tuple[list[str], NDArray[np.float32], dict[str, float]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found["texts"], np.array(found["vectors"], dtype=np.float32), dict(found["min_cosine"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not golden vectors ({error!r}); fetch the encoder again") from None


def verify_files(folder: Path) -> None:
    """Checks that the folder holds the files of its manifest and no others, each with its sha256; computes nothing.

    The manifest itself vouches for no version: whoever must know which one it is compares its hash with dvc.lock, or
    with what was noted when the version was released.

    Raises:
        BadInput: names the first file that is missing, differs, or is not in the manifest.
    """
    files = read_manifest(folder).files
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted({*present, *NEEDED} - {MANIFEST, *files}):
        raise BadInput(f"{folder / name}: not in the manifest, which lists every file; fetch the encoder again")
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{path}: not found, but listed in the manifest; fetch the encoder again")
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != expected["sha256"]:
            raise BadInput(f"{path}: sha256 is {got}, expected {expected['sha256']}; fetch the encoder again")
