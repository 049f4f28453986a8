"""Arrows point one way: stages, nouns, runtime, third parties; and heavy libraries stay where they belong."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src"
FILES = sorted(path for path in SOURCE.rglob("*.py"))
# by rank: a room imports from rooms below it; rooms of one rank do not know each other
RANKS = (
    ("errors", "json_text"),
    ("files",),
    ("tables", "stage", "runtime"),
    ("endpoints",),
    ("plots",),
    ("export", "retrieval", "encoding"),
    ("data",),
    ("tuning",),
    ("evaluation",),
    ("stages", "served"),
    ("cli",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}
# modules, and whole rooms, that may import torch or polars at their top level
TORCH = (
    *("attune.encoding.encoders", "attune.tuning.dev", "attune.tuning.interpolation", "attune.tuning.training"),
    *(
        "attune.encoding.first_layers",
        "attune.tuning.rehearsal",
        "attune.export.graph",
    ),
    *("attune.stages.train", "attune.encoding.torch_threads", "attune.tuning.adapter"),
    *("attune.stages.static", "attune.tuning.static.fit"),
)
POLARS = (
    *("attune.plots", "attune.data.raw_tables", "attune.data.trained_on", "attune.evaluation.scoring.encoded"),
    *("attune.tables", "attune.data.splitting.duplicates", "attune.cli.check", "attune.cli.compare"),
    "attune.export.int8.calibration",
    *(
        "attune.evaluation.scoring.judgments",
        "attune.evaluation.scoring.hybrid",
        "attune.evaluation.calibration.hits",
        "attune.evaluation.report",
        "attune.evaluation.statistics.slices",
    ),
    *("attune.evaluation.frozen", "attune.evaluation.label_points", "attune.evaluation.holes"),
    *("attune.cli.judge.unjudged", "attune.data.judgments"),
    *("attune.evaluation.page.charts", "attune.stages", "attune.served"),
    *("attune.retrieval.passages", "attune.tuning.mining.passages"),
    *("attune.data.splitting.assignment", "attune.data.splitting.lexical_audit", "attune.data.splitting.paraphrases"),
    *(
        "attune.data.splitting.query_origins",
        "attune.data.splitting.shared_documents",
        "attune.tuning.candidates",
        "attune.tuning.training.rows",
    ),
)
RUNTIME = {"numpy", "onnxruntime", "tokenizers", "attune"}
# libraries that take from a third of a second to five to import
SLOW = """
datasets matplotlib networkx onnx pandas peft scipy.stats sentence_transformers sklearn statsmodels torch transformers
""".split()
LIGHT = (
    *("base", "collect", "prepare", "split", "embed", "audit", "mine", "evaluate", "seeds", "champion", "drift"),
    "release",
    "report",
)
# base, embed and probe load torch at its first use: for the rehearsal, and where an encoder has no graph
COMMANDS = ("attune.cli.main", "attune.cli.check.profile")


def module(file: Path, source: Path = SOURCE) -> str:
    return ".".join(file.relative_to(source).with_suffix("").parts).removesuffix(".__init__")


def imports(file: Path, source: Path = SOURCE) -> set[str]:
    """Returns the modules that a file imports at its top level; an import inside a function is a deliberate, later one.

    `from attune import demo` and `from . import demo` count as attune.demo.
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


def room(name: str) -> str:
    """Returns the room or ground-floor file that a module belongs to."""
    return name.split(".")[1] if "." in name else "errors"


def upward(file: Path, source: Path = SOURCE) -> list[str]:
    """Returns the imports of a file that point to a room of its own rank or above, or from one stage to another."""
    own = module(file, source)
    return [
        name
        for name in sorted(imports(file, source))
        if name.startswith("attune.")
        and (
            (room(name) != room(own) and RANK[room(name)] >= RANK[room(own)])
            or (name.startswith("attune.stages.") and own.startswith("attune.stages."))
        )
    ]


@pytest.mark.parametrize("file", FILES, ids=module)
def test_no_import_points_up(file: Path) -> None:
    """A room imports only from rooms of lower rank, a stage never from another stage."""
    assert upward(file) == []


def test_the_layer_test_can_fail(tmp_path: Path) -> None:
    """Upward imports, imports between rooms of one rank and between stages are found, however they are written."""
    for folder in ("stages", "runtime", "data", "export", "retrieval"):
        (tmp_path / "attune" / folder).mkdir(parents=True)
    names = ("data/noun.py", "runtime/ship.py", "stages/one.py", "export/graph.py", "errors.py")
    noun, ship, stage, graph, errors = (tmp_path / "attune" / name for name in names)
    noun.write_text("from attune.stages.one import x\n")
    graph.write_text("from attune.retrieval.exact import x\n")
    stage.write_text("from attune.stages.two import x\nfrom attune.data.noun import y\n")
    errors.write_text("from attune.tables import x\n")
    assert upward(noun, tmp_path) == ["attune.stages.one"]
    assert upward(graph, tmp_path) == ["attune.retrieval.exact"]
    assert upward(stage, tmp_path) == ["attune.stages.two"]
    assert upward(errors, tmp_path) == ["attune.tables"]
    for statement in ("from attune import data", "from .. import data", "import attune.data"):
        ship.write_text(f"{statement}\n")
        assert upward(ship, tmp_path) == ["attune.data"]
    for statement in ("from attune.stages import two", "from . import two", "from .two import x"):
        stage.write_text(f"{statement}\n")
        assert upward(stage, tmp_path) == ["attune.stages.two"]
    noun.write_text("from attune import errors, tables\nfrom attune.runtime import Embedder\n")
    assert upward(noun, tmp_path) == []


def allows(places: Sequence[str], name: str) -> bool:
    """Tells whether a module is among the places, or in a room that is."""
    return any(name == place or name.startswith(f"{place}.") for place in places)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_heavy_libraries_stay_where_they_belong(file: Path) -> None:
    """torch with encoders, training and export; polars with stages and those that read tables; the runtime on three."""
    own, used = module(file), {name.split(".")[0] for name in imports(file)}
    if not allows(TORCH, own):
        assert "torch" not in used
    if not allows(POLARS, own):
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


def brought_in(
    modules: Sequence[str], path: Path = SOURCE, libraries: Sequence[str] = tuple(SLOW)
) -> dict[str, list[str]]:
    """The slow libraries that each module brings in beyond those before it, imported in a process of their own."""
    command = [sys.executable, "-c", IMPORTING, json.dumps(libraries), *modules]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(path)}, capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_stages_without_an_encoder_start_without_slow_libraries() -> None:
    """Changing a measure costs seconds: a library is loaded where its work begins."""
    modules = [*(f"attune.stages.{name}" for name in LIGHT), *COMMANDS]
    assert brought_in(modules) == {module: [] for module in modules}


def test_a_system_starts_without_what_the_others_need() -> None:
    """A hybrid ranks nothing: BM25 and the graph of an adapter are loaded where a system needs them."""
    assert brought_in(["attune.stages.evaluate"], libraries=["bm25s", "onnxruntime", "tokenizers", "Stemmer"]) == {
        "attune.stages.evaluate": []
    }


def test_the_test_of_slow_libraries_can_fail(tmp_path: Path) -> None:
    """An import two files down is found, and told of the module that brings it in."""
    (tmp_path / "light.py").write_text("import json\n")
    (tmp_path / "slow.py").write_text("import between\n")
    (tmp_path / "between.py").write_text("from scipy.stats import bootstrap\n")
    assert brought_in(["light", "slow"], tmp_path) == {"light": [], "slow": ["scipy.stats"]}
