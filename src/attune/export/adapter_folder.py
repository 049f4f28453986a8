"""Folder of the query adapter: graphs of the base encoder and of the adapter, and a manifest, for a kept index.

Documents are embedded, or were, by the base's graph; queries by it and then by the adapter. No document is embedded
again.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
from sentence_transformers import SentenceTransformer

from attune.export.folder import FP32, LIBRARIES, file_records, write_settings
from attune.export.graph import OUTPUTS, export_graph
from attune.export.modules import describe
from attune.export.parity import FP32_MIN_COSINE, GOLDEN_STEP, parity_texts
from attune.export.query_map import QueryMap
from attune.runtime import verify
from attune.runtime.adapter import ADAPTER
from attune.runtime.integrity import GOLDEN
from attune.runtime.manifest import MANIFEST
from attune.stage import write_json


def write_adapter_folder(
    base: Path,
    encoder: SentenceTransformer,
    query_map: QueryMap,
    opset: int,
    figures: Mapping[str, Any],
    out: Path,
) -> None:
    """Writes the folder and verifies it: its files, and the base's graph against torch.

    Args:
        base: sentence-transformers folder of the base encoder.
        encoder: the base, loaded on the CPU in fp32.
        query_map: the adapter.
        opset: of both graphs.
        figures: of the adapter, for the manifest.
        out: folder to write.

    Raises:
        BadInput: the base has parts that an exported folder cannot express, or its graph computes other vectors than
            torch.
    """
    about = describe(encoder, base)
    write_settings(base, out, about, torch_weights=False)
    texts = parity_texts(encoder.tokenizer.backend_tokenizer, about.max_length)[::GOLDEN_STEP]
    vectors = encoder.encode(texts, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
    export_graph(encoder, out / FP32, opset)
    onnx.save(query_map.graph(about.dim, opset), out / ADAPTER)
    write_json(out / GOLDEN, {"texts": texts, "vectors": vectors.tolist(), "min_cosine": {FP32: FP32_MIN_COSINE}})
    origin = base / "attune.json"
    manifest = {
        "format": 1,
        "base": json.loads(origin.read_text(encoding="utf-8")) if origin.is_file() else {},
        **asdict(about),
        "normalise": True,
        "outputs": list(OUTPUTS),
        "graphs": {"fp32": FP32, "query_adapter": ADAPTER},
        "query_adapter": figures,
        "libraries": {name: version(name) for name in LIBRARIES},
        "files": file_records(out),
    }
    write_json(out / MANIFEST, manifest)
    verify(out)
