"""Folder of a static query encoder: token vectors in int8, weights, tokenizer, graph; and one of sentence-transformers.

`model.safetensors` holds `embeddings` (int8) and `weights` (float32, 0 for special tokens), as model2vec writes them,
so model2vec's StaticModel and sentence-transformers' StaticEmbedding load the folder too. The folder below it,
`sentence_transformers`, has a Router that sends queries there and documents to the encoder whose space it is.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer

from attune.export.folder import file_records
from attune.export.static_graph import static_graph
from attune.runtime.arrays import Float32
from attune.runtime.manifest import TOKENIZER, read_manifest
from attune.runtime.static import EMBEDDINGS, GRAPH, RECORD, VECTORS, WEIGHTS
from attune.stage import write_json

ROUTER = "sentence_transformers"  # below the folder; not released, as it holds the documents' encoder again
LARGEST = 127  # of int8, symmetric
OF_TRANSFORMER = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"),
    "sentence_bert_config.json",
)


class Quantised(NamedTuple):
    """Token vectors as they ship: a token counts as its row of `vectors` times its weight.

    Attributes:
        vectors: (n_tokens, dim).
        weights: (n_tokens,), 0 for tokens without a vector.
    """

    vectors: NDArray[np.int8]
    weights: Float32


def quantised(vectors: Float32) -> Quantised:
    """Returns int8 rows and their scales, whose products are the vectors to within half a step.

    Args:
        vectors: (n_tokens, dim).
    """
    weights = (np.abs(vectors).max(axis=1, initial=0) / LARGEST).astype(np.float32)
    divisors = np.where(weights > 0, weights, 1)[:, None]
    return Quantised(np.rint(vectors / divisors).astype(np.int8), weights)


def write_static_folder(exported: Path, tokens: Quantised, opset: int, figures: Mapping[str, Any], out: Path) -> None:
    """Writes the folder; where the exported encoder has torch weights, the folder of sentence-transformers, too.

    Args:
        exported: folder of the encoder whose document space it is.
        tokens: by token id.
        opset: of the graph.
        figures: of the static encoder, for its record.
        out: folder to write.
    """
    out.mkdir(parents=True)
    tokenizer = Tokenizer.from_file(str(exported / TOKENIZER))
    tokenizer.no_padding()
    tokenizer.save(str(out / TOKENIZER))
    save_file({EMBEDDINGS: tokens.vectors, WEIGHTS: tokens.weights}, out / VECTORS)
    onnx.save(static_graph(*tokens, opset), out / GRAPH)
    max_length = read_manifest(exported).max_length
    write_json(out / "config.json", {"model_type": "model2vec", "normalize": True, "max_length": max_length})
    write_record(exported, figures, out)
    if any(exported.glob("model*.safetensors*")):
        _write_router(exported, out, out / ROUTER)


def write_record(exported: Path, figures: Mapping[str, Any], out: Path) -> None:
    """Writes static.json: fingerprint and dimensions of the encoder, figures, and the sha256 of each file.

    Args:
        exported: folder of the encoder whose document space it is.
        figures: of the static encoder.
        out: folder whose files are listed; created where a static encoder that is off has none.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(exported)
    record = {"format": 1, "encoder": manifest.fingerprint(), "dim": manifest.dim}
    write_json(out / RECORD, record | {"figures": figures, "files": file_records(out)})


def _write_router(exported: Path, static: Path, out: Path) -> None:
    """Writes a sentence-transformers folder, of version 5 or later, that routes queries and documents.

    Prompts of queries go, as token vectors were made with them; documents keep theirs.
    """
    about = json.loads((exported / "modules.json").read_text(encoding="utf-8"))
    settings = json.loads((exported / "config_sentence_transformers.json").read_text(encoding="utf-8"))
    structure: dict[str, list[str]] = {"query": ["query_0_StaticEmbedding", "query_1_Normalize"], "document": []}
    types = {name: f"sentence_transformers.models.{name.split('_')[-1]}" for name in structure["query"]}
    (out / "query_0_StaticEmbedding").mkdir(parents=True)
    for name in (VECTORS, TOKENIZER):
        shutil.copyfile(static / name, out / "query_0_StaticEmbedding" / name)
    _write_empty(out / "query_1_Normalize")
    for place, module in enumerate(about):
        name = f"document_{place}_{module['type'].split('.')[-1]}"
        structure["document"].append(name)
        types[name] = module["type"]
        if module["path"]:
            shutil.copytree(exported / module["path"], out / name)
            continue
        (out / name).mkdir()
        weights = sorted(path.name for path in exported.glob("model*.safetensors*"))
        for file in (*(file for file in OF_TRANSFORMER if (exported / file).is_file()), *weights):
            shutil.copyfile(exported / file, out / name / file)
    parameters = {"default_route": "document", "allow_empty_key": True}
    write_json(out / "router_config.json", {"types": types, "structure": structure, "parameters": parameters})
    router = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Router"}
    write_json(out / "modules.json", [router])
    prompts = settings["prompts"] | {"query": ""}
    write_json(out / "config_sentence_transformers.json", settings | {"prompts": prompts, "default_prompt_name": None})


def _write_empty(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}\n", encoding="utf-8")  # git and DVC keep no empty folders
