"""Folder of an exported encoder: the files beside the graphs, in the schema that most consumers read.

It is the schema of sentence-transformers 2 to 5. Version 6 reads it but writes another, which older versions and Text
Embeddings Inference refuse. fastembed, transformers.js and Spring AI read this folder as well.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from attune.errors import BadInput
from attune.stage import sha256_of

# file names that transformers.js expects
FP32, INT8, FP16 = "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/model_fp16.onnx"
GRAPHS = {"fp32": FP32, "int8": INT8, "fp16": FP16}  # fp16 is optional
SPECIAL_TOKENS = ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token", "bos_token", "eos_token")
STALE = ("is_local", "local_files_only", "max_length")  # max_length: the base's own limit, which fastembed would obey
POOLING_FLAGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
DENSE_KEYS = ("in_features", "out_features", "bias", "activation_function")  # all that versions before 5 accept
LIBRARIES = ("sentence-transformers", "transformers", "torch", "tokenizers", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Description:
    """Settings that a consumer needs to use an encoder's graph.

    Attributes:
        dim: length of an embedding.
        hidden_size: length of a token's embedding.
        n_dense: linear layers after the pooling. With one or more, consumers must take the output `sentence_embedding`:
            pooling the tokens themselves gives another vector, of `hidden_size` numbers.
        max_length: tokens, special ones included; longer texts are cut.
        pooling: a key of POOLING_FLAGS.
        prompts: texts put before queries, documents and others, by name.
        default_prompt_name: of the prompt for texts of no kind; None for no prompt.
        similarity: function of two embeddings, by sentence-transformers' name.
    """

    dim: int
    hidden_size: int
    n_dense: int
    max_length: int
    pooling: str
    prompts: dict[str, str]
    default_prompt_name: str | None
    similarity: str


def write_settings(source: Path, out: Path, about: Description, torch_weights: bool) -> None:
    """Writes every file of the folder but the graphs, the manifest and the golden vectors.

    Args:
        source: sentence-transformers folder of the encoder.
        out: folder to write; created if needed.
        about: the encoder's settings.
        torch_weights: also copies model.safetensors.

    Raises:
        BadInput: the source lacks weights, config.json, modules.json, tokenizer.json or tokenizer_config.json.
    """
    for name in ("config.json", "modules.json", "tokenizer.json", "tokenizer_config.json"):
        if not (source / name).is_file():
            raise BadInput(f"{source / name}: not found; the export needs it, so train or fetch the encoder again")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / "config.json", out / "config.json")
    if torch_weights:
        _copy_weights(source, out)
    _write_tokenizer(source, out, about.max_length)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules += [(f"{place}_Dense", "Dense") for place in range(2, 2 + about.n_dense)]
    modules.append((f"{len(modules)}_Normalize", "Normalize"))
    _write(out / "modules.json", _modules(modules))
    _write(out / "1_Pooling" / "config.json", _pooling(about))
    for (path, _), origin in zip(modules[2:-1], _dense_folders(source), strict=True):
        _write_dense(source / origin, out / path)
    _write(out / modules[-1][0] / "config.json", {})  # no settings, but git and DVC keep no empty folders
    _write(out / "sentence_bert_config.json", {"max_seq_length": about.max_length, "do_lower_case": False})
    settings = {"prompts": about.prompts, "default_prompt_name": about.default_prompt_name}
    versions = {name.replace("-", "_"): version(name) for name in LIBRARIES[:3]}
    similarity = {"similarity_fn_name": about.similarity}
    _write(out / "config_sentence_transformers.json", {"__version__": versions} | settings | similarity)


def _modules(modules: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    kind = "sentence_transformers.models"
    return [
        {"idx": place, "name": str(place), "path": path, "type": f"{kind}.{name}"}
        for place, (path, name) in enumerate(modules)
    ]


def _dense_folders(source: Path) -> list[str]:
    modules = json.loads((source / "modules.json").read_text(encoding="utf-8"))
    return [module["path"] for module in modules if module["type"].endswith(".Dense")]


def _write_dense(source: Path, out: Path) -> None:
    settings = json.loads((source / "config.json").read_text(encoding="utf-8"))
    _write(out / "config.json", {key: settings[key] for key in DENSE_KEYS})
    shutil.copyfile(source / "model.safetensors", out / "model.safetensors")


def _pooling(about: Description) -> dict[str, Any]:
    flags = {flag: mode == about.pooling for mode, flag in POOLING_FLAGS.items()}
    return {"word_embedding_dimension": about.hidden_size} | flags | {"include_prompt": True}


def _write_tokenizer(source: Path, out: Path, max_length: int) -> None:
    settings = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokens = {name: _content(settings[name]) for name in SPECIAL_TOKENS if settings.get(name)}
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    pad_id = tokenizer.token_to_id(tokens["pad_token"]) if "pad_token" in tokens else None
    if pad_id is None:
        raise BadInput(f"{source / 'tokenizer_config.json'}: no pad_token in its vocabulary; set one and save again")
    # clients that read only this file must truncate and pad as in training
    tokenizer.enable_truncation(max_length, direction=settings.get("truncation_side") or "right")
    tokenizer.enable_padding(pad_id=pad_id, pad_token=tokens["pad_token"])
    tokenizer.save(str(out / "tokenizer.json"))
    kept = {name: value for name, value in settings.items() if name not in STALE}
    _write(out / "tokenizer_config.json", kept | {"model_max_length": max_length})
    _write(out / "special_tokens_map.json", tokens)
    if json.loads(tokenizer.to_str())["model"]["type"] == "WordPiece":
        vocabulary = tokenizer.get_vocab()
        (out / "vocab.txt").write_text(
            "".join(f"{token}\n" for token in sorted(vocabulary, key=vocabulary.__getitem__)),
            encoding="utf-8",
        )


def _content(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _copy_weights(source: Path, out: Path) -> None:
    weights = sorted(source.glob("model*.safetensors*"))
    if not weights:
        raise BadInput(f"{source}: no model.safetensors; save the encoder again, or set export.torch_weights to false")
    for path in weights:
        shutil.copyfile(path, out / path.name)


def file_records(folder: Path) -> dict[str, dict[str, str | int]]:
    """Returns the sha256 and the size in bytes of each file, by its path in the folder, sorted."""
    records: dict[str, dict[str, str | int]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        records[path.relative_to(folder).as_posix()] = {"sha256": sha256_of(path), "size": path.stat().st_size}
    return records
