"""Runs a tiny encoder of each family through load, training, LoRA, a stop, export and runtime (`make families`).

Writes bench/figures/families.json, from which `make readme` makes the table of docs/encoders.md. With names of families
it measures these alone and keeps the others' rows.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import onnx
import torch
from tiny_encoders import FAMILIES, MAX_LENGTH, build
from training import params, sha256, task, trained

from attune.encoding.encoders import load_for_export
from attune.errors import BadInput, one_line
from attune.export.folder import FP32, INT8, write_settings
from attune.export.modules import describe
from attune.export.shipped import ExportParams, build_manifest, write_graphs
from attune.runtime import Embedder
from attune.runtime.manifest import MANIFEST
from attune.stage import call, load_params, sha256_of, write_json
from attune.stages.base import BaseParams, base, files_to_copy
from attune.tuning.training.batches import EpochCallback

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "bench" / "figures" / "families.json"
STEPS = ("loads", "trains", "lora", "resumes", "exports")
TEXTS = ["stack arrays vertically", "a", "Sort the ROWS by their norm, then look at them. " * 5, "日本", "x" * 99]
SHORT = {"max_steps": 2, "n_evaluations": 2, "epochs": 1, "shares": []}
Row = dict[str, Any]


class Stopped(Exception):
    """Stops a run in place of a kill."""


def brought(encoder: Path, out: Path) -> Path:
    """Runs stage base on an encoder's folder; returns the folder that it writes.

    Raises:
        BadInput: the stage refuses the encoder.
    """
    pins = {name: sha256_of(encoder / name) for name in files_to_copy(encoder, {})}
    changes = {"model": "own", "folder": str(encoder), "revision": "", "max_length": MAX_LENGTH, "sha256": pins}
    settings = load_params(BaseParams, "base", ROOT / "params.yaml").model_copy(update=changes | {"prompts": {}})
    call(
        base,
        settings,
        None,
        corpus=out / "none",
        train=out / "none",
        parameters=ROOT / "params.yaml",
        out=out,
        exported=out.with_name("graph"),
    )
    return out


def exported(model: Path, out: Path) -> float:
    """Exports an encoder without the grid of stage export; returns the largest difference of runtime and torch.

    Raises:
        BadInput: the encoder cannot be exported.
    """
    encoder = load_for_export(model)
    about = describe(encoder, model)
    expected = encoder.encode(TEXTS, batch_size=1, prompt="", normalize_embeddings=True, show_progress_bar=False)
    write_settings(model, out, about, torch_weights=False)
    write_graphs(load_params(ExportParams, "export", ROOT / "params.yaml"), encoder, TEXTS, out)
    write_json(out / MANIFEST, build_manifest(about, model, {}, {}))
    embedder = Embedder(out, threads=1)
    return float(np.abs(embedder.encode_tokens(embedder.token_ids(TEXTS)) - expected).max())


def weight_bytes(graph: Path) -> int:
    """Returns the bytes of a graph's weights; of so small an encoder the nodes take more than half of the file."""
    return sum(len(tensor.raw_data) for tensor in onnx.load(graph).graph.initializer)


@contextmanager
def stopped_at_first_checkpoint() -> Iterator[None]:
    """Ends training as soon as a checkpoint is written, as a kill would."""

    def stop(*args: object, **kwargs: object) -> None:
        raise Stopped

    with patch.object(EpochCallback, "on_save", stop):
        try:
            yield
        except Stopped:
            return
    raise AssertionError("no checkpoint was written")


def resumed(folder: Path, inputs: dict[str, Path]) -> str:
    """Stops a run at its first checkpoint and resumes it; returns the sha256 of what it leaves."""
    with stopped_at_first_checkpoint():
        trained(folder, inputs, params(**SHORT), "resumed")
    return trained(folder, inputs, params(**SHORT), "resumed")[0]


def measured(family: str, folder: Path) -> Row:
    """Tries each step on a tiny encoder of a family.

    Args:
        family: a key of tiny_encoders.FAMILIES.
        folder: to work in.

    Returns:
        Per step True, or what it said; int8_share of the bytes of fp32's weights; difference of runtime and torch.
    """
    torch.set_num_threads(1)
    kind = FAMILIES[family]
    row: Row = {"class": kind.model or f"{kind.name}Model", "pooling": kind.pooling}
    results: dict[str, Any] = {}

    def attempt(step: str, action: Callable[[], Any]) -> bool:
        try:
            results[step] = action()
        except Exception as error:  # any failure is the figure
            row[step] = one_line(f"{type(error).__name__}: {error}".splitlines()[0])[:200]
            return False
        row[step] = True
        return True

    with chdir(folder):
        if not attempt("loads", lambda: task(folder, brought(build(folder, family), folder / "brought"))):
            return row
        inputs = results["loads"]
        is_trained = attempt("trains", lambda: trained(folder, inputs, params(**SHORT), "run")[0])
        attempt("lora", lambda: trained(folder, inputs, params(**SHORT | {"max_steps": 1}, lora_rank=2), "lora"))
        if is_trained and attempt("resumes", lambda: resumed(folder, inputs)):
            row["resumes"] = results["resumes"] == sha256(folder / "run") or "other bytes"
        model = folder / "run" / "5" if is_trained else folder / "brought"
        if attempt("exports", lambda: exported(model, folder / "onnx")):
            row["int8_share"] = round(weight_bytes(folder / "onnx" / INT8) / weight_bytes(folder / "onnx" / FP32), 2)
            row["difference"] = float(f"{results['exports']:.0e}")
    return row


def refusals(folder: Path) -> dict[str, str]:
    """Returns what stage base says of folders that it refuses, by kind."""
    made = build(folder, "bert", name="whole")
    said = {}
    for kind, change in REFUSED.items():
        copy = folder / kind.replace(" ", "_")
        copy.mkdir()
        for path in made.glob("*.*"):
            (copy / path.name).write_bytes(path.read_bytes())
        change(copy)
        try:
            brought(copy, folder / "refused")
        except BadInput as error:
            said[kind] = str(error)
    return said


def _module(name: str) -> Callable[[Path], None]:
    kinds = json.dumps([{"idx": 0, "name": "0", "path": "", "type": name}])
    return lambda folder: (folder / "modules.json").write_text(kinds) and None


def _adapter(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "makers/encoder"}')


def _own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "modeling.NewModel"}}))


REFUSED: dict[str, Callable[[Path], None]] = {
    "code of its own (gte v1.5, nomic v2, jina v2)": _own_code,
    "an adapter (PEFT) without its base": _adapter,
    "token vectors (model2vec, potion)": _module("sentence_transformers.models.StaticEmbedding"),
    "images and texts (CLIP)": _module("sentence_transformers.models.CLIPModel"),
    "word vectors (GloVe)": _module("sentence_transformers.models.WordEmbeddings"),
    "several routes (Router)": _module("sentence_transformers.models.Router"),
}


def main(names: list[str]) -> None:
    """Measures the named families, or all, and writes the figures."""
    content = json.loads(FIGURES.read_text()) if names else {"families": {}}
    with TemporaryDirectory() as folder:
        content["refused"] = refusals(Path(folder))
    for family in names or FAMILIES:
        with TemporaryDirectory() as folder:
            content["families"][family] = measured(family, Path(folder))
        print(family, content["families"][family], flush=True)  # noqa: T201
        content["families"] = {name: content["families"][name] for name in FAMILIES if name in content["families"]}
        FIGURES.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
