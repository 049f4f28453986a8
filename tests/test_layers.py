"""Arrows point one way: stages, nouns, runtime, third parties; and heavy libraries stay where they belong."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src"
FILES = sorted(path for path in SOURCE.rglob("*.py"))
LAYERS = {
    "stages": 3,
    "cli": 3,
    "__main__": 3,
    "check": 3,
    "gate": 3,
    "comment": 3,
    "guess": 3,
    "sources": 1,
    "runtime": 0,
    "errors": 0,
    "problems": 0,
}  # everything else is a noun: 2
TORCH = {
    "attune.adapters",
    "attune.checkpoints",
    "attune.dev",
    "attune.distillation",
    "attune.encoders",
    "attune.fitting",
    "attune.gathering",
    "attune.interpolation",
    "attune.losses",
    "attune.packed_attention",
    "attune.packing",
    "attune.onnx_graph",
    "attune.stages.probe",
    "attune.stages.train",
    "attune.stages.export",
}
POLARS = {
    f"attune.{name}"
    for name in ("asked", "calibration", "check", "rankings", "same_queries", "scored", "splits", "stories", "tables")
}
RUNTIME = {"numpy", "onnxruntime", "tokenizers", "attune"}
# what takes from a third of a second to five to import
SLOW = """
datasets matplotlib networkx onnx pandas peft scipy.stats sentence_transformers sklearn statsmodels torch transformers
""".split()
LIGHT = ("base", "collect", "prepare", "split", "embed", "audit", "mine", "evaluate", "drift", "release")
# embed loads torch at its first use, where its encoder is one in torch
COMMANDS = ("attune.cli", "attune.check", "attune.guess")
# in this order: report needs for its tests what seeds needs, and more
BRINGS = {"page": ["matplotlib"], "seeds": ["scipy.stats"], "report": ["pandas", "statsmodels"]}


def module(file: Path, source: Path = SOURCE) -> str:
    return ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, source: Path = SOURCE) -> set[str]:
    """What a file imports at its top level (an import inside a function is a deliberate, later one).

    From a package of ours come modules: `from attune import demo`, or `from . import demo`, imports attune.demo.
    """
    found: set[str] = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = file.relative_to(source).parent.parts
            above = package[: len(package) - node.level + 1] if node.level else ()
            name = ".".join([*above, *([node.module] if node.module else [])])
            found.add(name)
            if (source / name.replace(".", "/")).is_dir():
                found |= {f"{name}.{alias.name}" for alias in node.names}
    return found


def layer(name: str) -> int:
    parts = name.split(".")
    return LAYERS.get(parts[1], 2) if len(parts) > 1 else 2


def upward(file: Path, source: Path = SOURCE) -> list[str]:
    """The imports of a file that point the wrong way: to a higher layer, or from one stage to another."""
    own = module(file, source)
    return [
        name
        for name in sorted(imports(file, source))
        if name.startswith("attune.")
        and (layer(name) > layer(own) or (name.startswith("attune.stages.") and own.startswith("attune.stages.")))
    ]


@pytest.mark.parametrize("file", FILES, ids=module)
def test_no_import_points_up(file: Path) -> None:
    """A noun never imports a stage, the runtime never a noun, a stage never another stage."""
    assert upward(file) == []


def test_the_layer_test_can_fail(tmp_path: Path) -> None:
    """An upward import and an import between stages are both found, however they are written."""
    (tmp_path / "attune" / "stages").mkdir(parents=True)
    (tmp_path / "attune" / "runtime").mkdir()
    noun, ship, stage = (tmp_path / "attune" / name for name in ("noun.py", "runtime/ship.py", "stages/one.py"))
    noun.write_text("from attune.stages.one import x\n")
    ship.write_text("import attune.noun\n")
    stage.write_text("from attune.stages.two import x\nfrom attune.noun import y\n")
    assert upward(noun, tmp_path) == ["attune.stages.one"]
    assert upward(ship, tmp_path) == ["attune.noun"]
    assert upward(stage, tmp_path) == ["attune.stages.two"]
    for statement in ("from attune import noun", "from .. import noun", "from ..noun import x"):
        ship.write_text(f"{statement}\n")
        assert upward(ship, tmp_path) == ["attune.noun"]
    for statement in ("from attune.stages import two", "from . import two", "from .two import x"):
        stage.write_text(f"{statement}\n")
        assert upward(stage, tmp_path) == ["attune.stages.two"]
    noun.write_text("from attune import errors, tables\nfrom attune.runtime import Embedder\n")
    assert upward(noun, tmp_path) == []


@pytest.mark.parametrize("file", FILES, ids=module)
def test_heavy_libraries_stay_where_they_belong(file: Path) -> None:
    """torch with encoders, training and export; polars with stages and those that read tables; the runtime on three."""
    own, used = module(file), {name.split(".")[0] for name in imports(file)}
    if own not in TORCH:
        assert "torch" not in used
    if not own.startswith("attune.stages") and own not in POLARS:
        assert "polars" not in used
    if own.startswith("attune.runtime"):
        assert used - set(sys.stdlib_module_names) <= RUNTIME


IMPORTING = """
import importlib, json, sys
found, heavy = {}, json.loads(sys.argv[1])
for name in sys.argv[2:]:
    before = {library for library in heavy if library in sys.modules}
    importlib.import_module(name)
    found[name] = sorted({library for library in heavy if library in sys.modules} - before)
print(json.dumps(found))
"""


def brought_in(modules: Sequence[str], path: Path = SOURCE) -> dict[str, list[str]]:
    """The slow libraries that each module brings in beyond those before it, imported in a process of their own."""
    command = [sys.executable, "-c", IMPORTING, json.dumps(SLOW), *modules]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(path)}, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_stages_without_an_encoder_start_without_slow_libraries() -> None:
    """Changing a measure costs seconds: only what draws, and what tests for significance, loads a library for it."""
    modules = [*(f"attune.stages.{name}" for name in LIGHT), *COMMANDS, *(f"attune.stages.{name}" for name in BRINGS)]
    allowed = {f"attune.stages.{name}": libraries for name, libraries in BRINGS.items()}
    assert brought_in(modules) == {name: allowed.get(name, []) for name in modules}


def test_the_test_of_slow_libraries_can_fail(tmp_path: Path) -> None:
    """An import two files down is found, and told of the module that brings it in."""
    (tmp_path / "light.py").write_text("import json\n")
    (tmp_path / "slow.py").write_text("import between\n")
    (tmp_path / "between.py").write_text("from scipy.stats import bootstrap\n")
    assert brought_in(["light", "slow"], tmp_path) == {"light": [], "slow": ["scipy.stats"]}
