"""The pipeline's wiring: what each stage depends on is exactly what it imports, and only what changed runs."""

import ast
from pathlib import Path
from typing import Any

import pytest
from _ruamel_yaml import CParser
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
STAGES = (
    *("base", "collect", "prepare", "split", "embed", "audit", "mine", "train", "merge", "export", "evaluate"),
    *("seeds", "probe", "drift", "report", "page", "release"),
)
# what later rounds do again, as stages of their own: the same program and parameters, other inputs and outputs
AGAIN = {"embed_round": "embed", "mine_round": "mine", "train_round": "train"}
OF_ROUND_ONE = {
    "models/rounds/${item}/${train.seeds[0]}": "models/base",
    "models/rounds/${item}": "models/base",
    "data/mined/${key}": "data/mined/r1",
    "data/embeddings/${key}": "data/embeddings/base",
}
NOT_A_STAGE = {"rounds", "gate", "demo"}  # sections of params.yaml that no stage reads


def pipeline() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def imported(file: Path, source: Path = SOURCE) -> set[Path]:
    """The project's own files that a file imports, at any depth of its code; a package counts when it holds code."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            path = source.joinpath(*name.split("."))
            found.update(p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file())
    return found


def has_code(file: Path) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def closure(file: Path, source: Path = SOURCE) -> set[str]:
    """Every project file that running a file reads, itself included, relative to the project's root."""
    seen: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += imported(current, source)
    files = {path for path in seen if path.name != "__init__.py" or has_code(path)}
    # a template is a dependency of whoever names it
    files |= {
        path for path in source.glob("attune/**/templates/*") if any(path.name in file.read_text() for file in seen)
    }
    return {path.relative_to(source.parent).as_posix() for path in files}


def code_deps(stage: dict[str, Any]) -> list[str]:
    return [dep for dep in stage.get("do", stage)["deps"] if dep.startswith("src/")]


def program(stage: dict[str, Any]) -> list[str]:
    """The module that a stage runs, and the names of its options."""
    words = stage.get("do", stage)["cmd"].split()
    return [words[words.index("-m") + 1], *sorted(word for word in words if word.startswith("--"))]


@pytest.mark.parametrize("name", [*STAGES, *AGAIN])
def test_a_stage_depends_on_exactly_the_files_it_imports(name: str) -> None:
    """Nothing missing (a stale result would look fresh), nothing extra (an edit would run too much)."""
    deps = code_deps(pipeline()[name])
    assert sorted(deps) == sorted(closure(SOURCE / "attune" / "stages" / f"{AGAIN.get(name, name)}.py"))


@pytest.mark.parametrize(("name", "first"), AGAIN.items())
def test_a_later_round_is_run_as_the_first(name: str, first: str) -> None:
    """The same module, options, parameters and inputs, but those of the round's own; no test split among them."""
    stages = pipeline()
    again, once = (stages[stage].get("do", stages[stage]) for stage in (name, first))
    assert program(again) == program(once)
    assert again["params"] == once["params"]
    read = {in_round_one(dep) for dep in again["deps"]}
    if name == "embed_round":
        assert read == {*once["deps"], "models/base", "data/splits/train"} - {"${item.model}", "data/splits"}
    else:
        assert read == {*once["deps"]} - {"metrics/audit.json"}  # which had to be there for round 1


def in_round_one(dep: str) -> str:
    """What the first round reads in place of what a later round reads."""
    for own, first in OF_ROUND_ONE.items():
        if dep.startswith(own):
            return first + dep.removeprefix(own)
    return dep


def test_no_two_rounds_write_to_the_same_place() -> None:
    """Not even two that start from the same one: all outputs bear the round's own name."""
    for name in AGAIN:
        stage = pipeline()[name]
        assert stage["foreach"] == "${rounds}"
        body = stage["do"]
        written = [*body["outs"], *(path for out in ("metrics", "plots") for one in body.get(out, []) for path in one)]
        assert all("${key}" in path for path in written) and len(written) >= 2


def test_the_closure_test_can_fail(tmp_path: Path) -> None:
    """An import added three levels down, inside a function, shows up in the closure."""
    package = tmp_path / "src" / "attune"
    (package / "stages").mkdir(parents=True)
    (package / "stages" / "one.py").write_text("from attune import near\n")
    (package / "near.py").write_text("import attune.far\n")
    (package / "far.py").write_text("def late():\n    from attune.hidden import thing\n")
    (package / "hidden.py").write_text("thing = 1\n")
    found = closure(package / "stages" / "one.py", tmp_path / "src")
    assert found == {f"src/attune/{name}.py" for name in ("stages/one", "near", "far", "hidden")}


def test_stages_params_and_files_bear_the_same_names() -> None:
    """One word, five rooms: dvc.yaml, params.yaml, src/attune/stages, metrics and tests."""
    sections = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    files = {path.stem for path in (SOURCE / "attune" / "stages").glob("*.py")} - {"__init__"}
    assert set(pipeline()) - set(AGAIN) == set(sections) - NOT_A_STAGE == files == set(STAGES)
    assert all((ROOT / "tests" / "stages" / f"test_{name}.py").is_file() for name in STAGES)


def test_every_stage_reads_its_own_section_and_leaves_a_receipt() -> None:
    """A stage tracks its section of params.yaml whole, and no other; what it did is in metrics/."""
    for name, stage in pipeline().items():
        body = stage.get("do", stage)
        assert [entry for entry in body["params"] if isinstance(entry, str)] == [AGAIN.get(name, name)]
        receipts = [
            path
            for metric in (body.get("metrics") or body["outs"])
            for path in (metric if isinstance(metric, dict) else [])
        ]
        assert any(path.startswith("metrics/") for path in receipts), name


def test_the_libraries_that_stages_track_are_the_pinned_ones() -> None:
    """libraries.yaml says what constraints.txt says, so a bump wakes the stages it matters to."""
    tracked = YAML(typ="safe").load((ROOT / "libraries.yaml").read_text())
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert tracked == {name: pinned[name] for name in tracked}
    listed = {
        name
        for stage in pipeline().values()
        for entry in stage.get("do", stage)["params"]
        if isinstance(entry, dict)
        for name in entry.get("libraries.yaml", ())
    }
    assert listed == set(tracked)


@pytest.mark.parametrize("file", ["params.yaml", "libraries.yaml", "dvc.yaml", "dvc.lock", "examples/miniature.yaml"])
def test_the_fast_parser_reads_what_the_exact_one_reads(file: str) -> None:
    """DVC and stages read YAML with libyaml's parser, several times as fast; nothing in our files reads otherwise."""
    text = (ROOT / file).read_text()
    fast, exact = YAML(typ="safe"), YAML(typ="safe", pure=True)
    assert fast.Parser is CParser is not exact.Parser
    assert fast.load(text) == exact.load(text)


def test_the_fast_parser_knows_yaml_1_2_and_refuses_what_it_cannot_read() -> None:
    """In YAML 1.1, 2e-5 is a string and `no` a truth value; a colon in braces needs quotes."""
    assert YAML(typ="safe").load("{a: 2e-5, b: no, c: 0o17}") == {"a": 2e-5, "b": "no", "c": 15}
    assert YAML(typ="safe").load("{url: 'http://localhost'}") == {"url": "http://localhost"}
    with pytest.raises(YAMLError, match="unexpected ':'"):
        YAML(typ="safe").load("{url: http://localhost}")
