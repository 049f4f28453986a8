"""Verification of an exported encoder: the sha256 of its files, and its vectors on this machine."""

from pathlib import Path

import numpy as np

from attune.errors import BadInput
from attune.runtime import folders, rules
from attune.runtime.adapter import ADAPTER, QueryAdapter
from attune.runtime.arrays import Float32
from attune.runtime.embedder import Embedder
from attune.runtime.manifest import ENCODER, GRAPH, MANIFEST, Manifest, read_manifest, sha256_of

GOLDEN = "golden.json"
REQUIRED = ("config.json", GOLDEN, GRAPH, "tokenizer.json")  # whatever the manifest lists
REQUIRED_OF_ADAPTER = (ENCODER, ADAPTER)  # where the encoder is behind an endpoint, so that there is no graph of it
REMEDY = "fetch the encoder again"
RULE = rules.record(
    {
        "texts": rules.rows(rules.text, least=1),
        "vectors": rules.rows(rules.rows(rules.number(-1.001, 1.001), least=1), least=1),
        "min_cosine": rules.table(rules.number(-1, 1), least=1),
    }
)


def verify(folder: Path | str, threads: int | None = None) -> None:
    """Checks every file's sha256 against the manifest, then every graph against the golden vectors.

    The golden vectors were computed by torch from the texts beside them. Each graph must reach a minimum cosine to
    them, which also detects machines on which int8 arithmetic saturates. A folder with encoder.json and no graph of the
    encoder, which is behind an endpoint, holds a query adapter, which must load.

    Args:
        folder: of the exported encoder.
        threads: CPU threads; None takes one per physical core.

    Nothing outside the folder is opened: see `attune.runtime.folders`. onnxruntime itself confines the weights that a
    graph keeps in files beside it to the graph's folder.

    Raises:
        BadInput: a file is missing, differs, or computes other vectors on this machine; names the first one.
    """
    folder = Path(folder)
    verify_files(folder)
    if not _has_graph(read_manifest(folder)):
        QueryAdapter(folder, threads)
        return
    texts, vectors, limits = _golden(folder, read_manifest(folder))
    for name, limit in limits.items():
        least = float((Embedder(folder, name, threads).encode(texts) * vectors).sum(axis=1).min())
        if not least >= limit:
            raise BadInput(
                f"{folder / name}: least cosine to the golden vectors is {least:.6f}, expected {limit} or more; "
                "this machine or version of onnxruntime computes other vectors: use another graph or version"
            )


def _has_graph(manifest: Manifest) -> bool:
    """Tells whether the folder should hold the encoder's graph: all but the adapter of one behind an endpoint."""
    return ENCODER not in manifest.files or GRAPH in manifest.files


def _golden(folder: Path, manifest: Manifest) -> tuple[list[str], Float32, dict[str, float]]:
    content = folders.read_json(folder, GOLDEN, RULE, "golden vectors", REMEDY, REMEDY)
    texts, lists, limits = content["texts"], content["vectors"], content["min_cosine"]
    if len(lists) != len(texts) or any(len(row) != manifest.dim for row in lists):
        what = f"expected {len(texts)} vectors, one per text, of {manifest.dim} numbers, the manifest's dim"
        raise BadInput(f"{folder / GOLDEN}: not golden vectors ({what}); {REMEDY}")
    for name in limits:
        if name not in manifest.files or not name.endswith(".onnx"):
            raise BadInput(f"{folder / GOLDEN}: {name!a} is no graph (.onnx) of the manifest; {REMEDY}")
    return texts, np.array(lists, dtype=np.float32), limits


def verify_files(folder: Path) -> None:
    """Checks that the folder holds the files of its manifest and no others, each with its sha256; computes nothing.

    A valid manifest does not say which version it is: compare its own hash with dvc.lock or the release's notes.

    Raises:
        BadInput: a file is missing, differs, is not in the manifest, or is no regular file inside the folder; names
            the first one.
    """
    manifest = read_manifest(folder)
    files, present = manifest.files, set(folders.walk(folder))
    required = REQUIRED if _has_graph(manifest) else REQUIRED_OF_ADAPTER
    for name in sorted({*present, *required} - {MANIFEST, *files}):
        raise BadInput(f"{folder / name}: not in the manifest, which lists every file; {REMEDY}")
    for name, expected in sorted(files.items()):
        path = folders.confined(folder, name, f"the manifest lists it: {REMEDY}")
        got = sha256_of(path)
        if got != expected["sha256"]:
            raise BadInput(f"{path}: sha256 is {got}, expected {expected['sha256']}; {REMEDY}")
