"""Rehearses the pipeline with a tiny encoder of each family, as stage base does with a user's (`make families`).

Load, training, LoRA, a run that is stopped and resumed, export, int8, runtime. Writes bench/figures/families.json, from
which `make readme` makes the table of docs/encoders.md. With names of families it measures these alone and keeps the
others' rows.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import onnx
import quick_libraries
from shipped_params import PANEL
from tiny_encoders import FAMILIES, MAX_LENGTH, build

from attune.errors import BadInput
from attune.export.folder import FP32, INT8
from attune.export.shipped import ExportParams
from attune.stage import Machine, call, load_params, sha256_of
from attune.stages.base import BaseParams, base, files_to_copy
from attune.tuning import rehearsal
from attune.tuning.rehearsal import _Rest
from attune.tuning.training.recipe import TrainParams

quick_libraries.write_no_model_cards()
ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "bench" / "figures" / "families.json"
STEPS = ("loads", "trains", "lora", "resumes", "exports")
# of the rehearsal's steps, by their names in messages
COLUMN = {
    **dict.fromkeys(("size", "loading", "tokenizer", "encoding"), "loads"),
    **{"training": "trains", "resuming": "resumes", "merging": "exports", "export": "exports"},
}
Row = dict[str, Any]


def brought(encoder: Path, out: Path) -> Path:
    """Runs stage base on an encoder's folder; returns the folder that it writes.

    Raises:
        BadInput: the stage refuses the encoder.
    """
    pins = {name: sha256_of(encoder / name) for name in files_to_copy(encoder, {})}
    changes = {"model": "own", "folder": str(encoder), "revision": "", "max_length": MAX_LENGTH, "sha256": pins}
    settings = load_params(BaseParams, "base", PANEL).model_copy(update=changes | {"prompts": {}})
    places = {"parameters": PANEL, "out": out, "exported": graph_of(out)}
    call(base, settings, None, corpus=out / "none", train=out / "none", **places)
    return out


@contextmanager
def without_rehearsal(has_graph: bool = True) -> Iterator[None]:
    """Lets stage base pass over what takes most of its time and has tests of its own: the rehearsal, and the graph."""
    passed = rehearsal.Rehearsal("fp32", is_bf16_wrong=False, steps=())
    changes: dict[str, Any] = {"rehearsed": lambda *_: passed}
    if not has_graph:
        changes["write_graph"] = lambda *arguments: arguments[-1].mkdir()
    with patch.multiple("attune.stages.base", **changes):
        yield


def graph_of(brought: Path) -> Path:
    """Returns the folder of the graph that stage base has written beside an encoder."""
    return brought.with_name(f"{brought.name}_graph")


def weight_bytes(graph: Path) -> int:
    """Returns the bytes of a graph's weights; of so small an encoder the nodes take more than half of the file."""
    return sum(len(tensor.raw_data) for tensor in onnx.load(graph).graph.initializer)


@dataclass
class Figures:
    """Figures of a rehearsal.

    Attributes:
        steps: that were begun, in their order; the last one is the one that failed, if any.
        int8_share: bytes of the int8 graph's weights as a share of fp32's.
        difference: largest difference of a number of an embedding in runtime and torch.
        said: what failed; "" if nothing did.
    """

    steps: list[str] = field(default_factory=list)
    int8_share: float | None = None
    difference: float | None = None
    said: str = ""


def rehearsed(encoder: Path, is_exported: bool = True, **changes: object) -> Figures:
    """Rehearses the pipeline of params.yaml with an encoder; returns what it did, and the figures of its graphs.

    Args:
        encoder: its folder.
        is_exported: whether the graphs are made, which takes most of the time.
        changes: of the parameters of stage train.
    """
    figures, step = Figures(), rehearsal._step
    write, parity = rehearsal.write_folder, rehearsal.require_parity

    @contextmanager
    def noted_step(name: str, what: str) -> Iterator[None]:
        figures.steps.append(what)
        with step(name, what):
            yield

    def noted_folder(*arguments: Any) -> dict[str, str]:
        graphs, out = write(*arguments), arguments[-1]
        figures.int8_share = round(weight_bytes(out / INT8) / weight_bytes(out / FP32), 2)
        return graphs

    def noted_parity(cosine: float, difference: float, *rest: Any) -> None:
        figures.difference = float(f"{difference:.0e}")
        parity(cosine, difference, *rest)

    machine = Machine(threads=1, precision="fp32", batch_tokens=4096)  # the same figures on any hardware
    settings = (
        load_params(TrainParams, "train", PANEL).model_copy(update=changes | {"machine": machine}),
        load_params(ExportParams, "export", PANEL).model_copy(update={"machine": machine}),
    )
    patches: dict[str, Any] = {"_step": noted_step, "write_folder": noted_folder, "require_parity": noted_parity}
    patches["first_layers"] = _none  # all layers, which may share weights
    exports = _Rest._exports if is_exported else _none
    with patch.multiple(rehearsal, **patches), patch.object(_Rest, "_exports", exports):
        try:
            rehearsal.rehearse("own", encoder, *settings)
        except BadInput as error:
            figures.said = str(error)
    return figures


def _none(*_: object) -> None:
    """Stands for a step that is left out."""


def measured(family: str, folder: Path) -> Row:
    """Rehearses with a tiny encoder of a family, all weights first, then LoRA.

    Args:
        family: a key of tiny_encoders.FAMILIES.
        folder: to work in.

    Returns:
        Per step True, or what it said; int8_share of the bytes of fp32's weights; difference of runtime and torch.
        Steps after one that failed are absent.
    """
    kind = FAMILIES[family]
    row: Row = {"class": kind.model or f"{kind.name}Model", "pooling": kind.pooling}
    with chdir(folder):
        encoder = build(folder, family)
        whole = rehearsed(encoder)
        adapters = rehearsed(encoder, is_exported=False, lora_rank=2) if not whole.said else None
    failed = COLUMN[whole.steps[-1]] if whole.said else ""
    for column in (step for step in STEPS if step in {COLUMN[step] for step in whole.steps}):
        row[column] = whole.said if column == failed else True
        if column == failed:
            return row
    assert adapters is not None
    row["lora"] = adapters.said or True
    return row | {"int8_share": whole.int8_share, "difference": whole.difference}


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
