"""Folder of the query adapter: graphs of the base encoder and of the adapter, and a manifest, for a kept index.

Documents are embedded, or were, by the base's graph; queries by it and then by the adapter. No document is embedded
again.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from attune.export.folder import file_records
from attune.export.query_map import QueryMap
from attune.runtime import verify
from attune.runtime.adapter import ADAPTER
from attune.runtime.manifest import MANIFEST
from attune.stage import write_json


def write_adapter_folder(base: Path, query_map: QueryMap, opset: int, figures: Mapping[str, Any], out: Path) -> None:
    """Writes the folder and verifies it: its files, and the base's graph, where it has one, against torch's vectors.

    Args:
        base: folder of the base's graph, which stage base has exported; of an encoder behind an endpoint, of its name.
        query_map: the adapter.
        opset: of its graph.
        figures: of the adapter, for the manifest.
        out: folder to write.

    Raises:
        BadInput: a file of the base's folder is missing or damaged, or its graph computes other vectors than torch.
    """
    shutil.copytree(base, out)
    about = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    (out / MANIFEST).unlink()  # it lists every file but itself
    (out / ADAPTER).parent.mkdir(exist_ok=True)  # missing where the base is behind an endpoint
    onnx.save(query_map.graph(about["dim"], opset), out / ADAPTER)
    graphs = about["graphs"] | {"query_adapter": ADAPTER}
    write_json(out / MANIFEST, about | {"graphs": graphs, "query_adapter": figures, "files": file_records(out)})
    verify(out)
