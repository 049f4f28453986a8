"""Folders of an encoder behind an endpoint: what stands in for its weights, and for its graph."""

import shutil
from pathlib import Path

from attune.encoding.origin import ORIGIN
from attune.encoding.served import ENDPOINT, Served
from attune.encoding.served_tokens import FILE as TOKENIZER
from attune.runtime.manifest import ENCODER, MANIFEST
from attune.stage import sha256_of, write_json


def write_description(served: Served, licence: str, out: Path, exported: Path) -> None:
    """Writes both folders.

    Args:
        served: the encoder.
        licence: of its vectors.
        out: in place of the weights: attune.json, the tokenizer if there is one, and the files of `exported`.
        exported: in place of a graph: encoder.json, which identifies the encoder, and a manifest without graphs.
    """
    exported.mkdir()
    about = {"model": served.model, "dimensions": served.endpoint.dimensions, "dim": served.dim}
    write_json(exported / ENCODER, about)
    record = {"sha256": sha256_of(exported / ENCODER), "size": (exported / ENCODER).stat().st_size}
    manifest = {
        "format": 1,
        "base": {"model": served.model, "revision": "", "licence": licence, "endpoint": served.endpoint.url},
        "dim": served.dim,
        "max_length": served.max_length,
        "prompts": served.prompts,
        "default_prompt_name": None,
        "similarity": "cosine",
        "graphs": {},
        "files": {ENCODER: record},
    }
    write_json(exported / MANIFEST, manifest)
    shutil.copytree(exported, out)
    origin = {"model": served.model, "revision": "", "licence": licence}
    write_json(out / ORIGIN, origin | {ENDPOINT: served.model_dump()})
    if served.endpoint.tokenizer:
        shutil.copyfile(served.endpoint.tokenizer, out / TOKENIZER)
