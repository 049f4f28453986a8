"""Verification of an exported encoder: the sha256 of its files, and its vectors on this machine."""

import json
from pathlib import Path

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Float32
from attune.runtime.embedder import Embedder
from attune.runtime.manifest import GRAPH, MANIFEST, read_manifest, sha256_of

GOLDEN = "golden.json"
REQUIRED = ("config.json", GOLDEN, GRAPH, "tokenizer.json")  # whatever the manifest lists


def verify(folder: Path | str, threads: int | None = None) -> None:
    """Checks every file's sha256 against the manifest, then every graph against the golden vectors.

    The golden vectors were computed by torch from the texts beside them. Each graph must reach a minimum cosine to
    them, which also detects machines on which int8 arithmetic saturates.

    Args:
        folder: of the exported encoder.
        threads: CPU threads; None takes one per physical core.

    Raises:
        BadInput: a file is missing, differs, or computes other vectors on this machine; names the first one.
    """
    folder = Path(folder)
    verify_files(folder)
    texts, vectors, limits = _golden(folder / GOLDEN)
    for name, limit in limits.items():
        least = float((Embedder(folder, name, threads).encode(texts) * vectors).sum(axis=1).min())
        if not least >= limit:
            raise BadInput(
                f"{folder / name}: least cosine to the golden vectors is {least:.6f}, expected {limit} or more; "
                "this machine or version of onnxruntime computes other vectors: use another graph or version"
            )


def _golden(path: Path) -> tuple[list[str], Float32, dict[str, float]]:
    try:
        golden = json.loads(path.read_text(encoding="utf-8"))
        return golden["texts"], np.array(golden["vectors"], dtype=np.float32), dict(golden["min_cosine"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{path}: not golden vectors ({error!r}); fetch the encoder again") from None


def verify_files(folder: Path) -> None:
    """Checks that the folder holds the files of its manifest and no others, each with its sha256; computes nothing.

    A valid manifest does not say which version it is: compare its own hash with dvc.lock or the release's notes.

    Raises:
        BadInput: a file is missing, differs, or is not in the manifest; names the first one.
    """
    files = read_manifest(folder).files
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    for name in sorted({*present, *REQUIRED} - {MANIFEST, *files}):
        raise BadInput(f"{folder / name}: not in the manifest, which lists every file; fetch the encoder again")
    for name, expected in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            raise BadInput(f"{path}: not found, but listed in the manifest; fetch the encoder again")
        got = sha256_of(path)
        if got != expected["sha256"]:
            raise BadInput(f"{path}: sha256 is {got}, expected {expected['sha256']}; fetch the encoder again")
