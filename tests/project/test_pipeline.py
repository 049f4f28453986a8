"""The pipeline's wiring: what each stage depends on is exactly what it imports, and only what changed runs."""

import ast
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
from _ruamel_yaml import CParser
from import_closure import SOURCE, closure
from packaging.specifiers import SpecifierSet
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.stage import all_params

ROOT = Path(__file__).resolve().parents[2]
STAGES = (
    *(
        "base",
        "collect",
        "prepare",
        "split",
        "near_domain",
        "embed",
        "audit",
        "mine",
        "train",
        "merge",
        "export",
        "adapter",
        "static",
        "evaluate",
        "calibrate",
    ),
    *("seeds", "champion", "probe", "drift", "storage", "curve", "report", "release"),
)
EXACT = ("base", "embed", "train", "merge", "adapter", "export", "probe")  # a needless re-run would cost minutes
PER_ROUND = ("mine", "train")
PROGRAMS, SERVED = "${programs.tuning}", ("train", "merge", "export")  # stages that an encoder with weights needs
NOT_A_STAGE = {
    "machine",
    "encoders",
    "rounds",
    "programs",
    "gate",
    "judge",
    "demo",
}  # sections that no stage is named after
REHEARSED = {
    ("params.yaml", name)
    for name in ("export", "machine.precision", "machine.threads", "train.loss", "train.lora_rank")
}
REHEARSED |= {("advanced.yaml", f"train.{name}") for name in ("distill_weight", "matryoshka_dims", "mini_batch_size")}
REHEARSED |= {("advanced.yaml", "export"), ("advanced.yaml", "programs")}
READS = {"curve": "adapter", "storage": "evaluate.truncate_dims"}  # of another stage's section
NO_SECTION = {"champion", "seeds"}  # stages without parameters of their own


@cache
def pipeline() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def body(name: str) -> dict[str, Any]:
    """Returns a stage of dvc.yaml, with `do` of a foreach unpacked."""
    stage: dict[str, Any] = pipeline()[name]
    return stage.get("do", stage)


def code_deps(name: str, programs: str = "stages") -> list[str]:
    """Returns the code that a stage depends on, with the folder of programs in its place."""
    return [dep.replace(PROGRAMS, programs) for dep in body(name)["deps"] if dep.startswith("src/")]


def uncovered(files: set[str], deps: list[str]) -> tuple[set[str], set[str]]:
    """Returns the files that no dependency (file or folder) covers, and the dependencies that cover no file."""
    covers = {dep: {file for file in files if file == dep or file.startswith(f"{dep}/")} for dep in deps}
    return files - set().union(*covers.values()), {dep for dep, covered in covers.items() if not covered}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_files_that_it_imports(name: str) -> None:
    """No import is missing from deps (a stale result would look fresh), and every dependency is imported."""
    files = closure(SOURCE / "attune" / "stages" / f"{name}.py")
    assert uncovered(files, code_deps(name)) == (set(), set())


@pytest.mark.parametrize("name", EXACT)
def test_a_stage_that_costs_minutes_lists_files_only(name: str) -> None:
    """An edit beside the files that such a stage imports does not run it."""
    assert sorted(code_deps(name)) == sorted(closure(SOURCE / "attune" / "stages" / f"{name}.py"))


@pytest.mark.parametrize("name", SERVED)
def test_a_stage_of_an_encoder_behind_an_endpoint_depends_on_what_it_imports(name: str) -> None:
    """With programs.tuning: served, the same list names the other program and misses no import of it."""
    missing, _ = uncovered(closure(SOURCE / "attune" / "served" / f"{name}.py"), code_deps(name, "served"))
    assert missing == set() and f"src/attune/served/{name}.py" in code_deps(name, "served")
    assert f"-m attune.{PROGRAMS}.{name} " in body(name)["cmd"]


def test_only_stages_that_need_weights_have_two_programs() -> None:
    """The folder of programs stands in no other stage, and holds one program for each."""
    assert {name for name in STAGES if PROGRAMS in str(body(name))} == {*SERVED}
    assert {path.stem for path in (SOURCE / "attune" / "served").glob("*.py")} - {"__init__"} == {*SERVED}


def test_the_dependency_test_can_fail() -> None:
    """A missing file, a needless file and a needless folder are all found."""
    files = {"src/a.py", "src/room/b.py"}
    assert uncovered(files, ["src/a.py", "src/room"]) == (set(), set())
    assert uncovered(files, ["src/room", "src/c.py", "src/other"]) == ({"src/a.py"}, {"src/c.py", "src/other"})


@pytest.mark.parametrize("name", PER_ROUND)
def test_rounds_write_to_places_of_their_own(name: str) -> None:
    """Every output of a round bears its name or its ending, and rounds read no test split."""
    stage = body(name)
    assert pipeline()[name]["foreach"] == "${rounds}"
    written = [*stage["outs"], *(path for out in ("metrics", "plots") for one in stage.get(out, []) for path in one)]
    assert all("${key}" in path or "${item.ending}" in path for path in written) and len(written) >= 2
    assert not [dep for dep in stage["deps"] if dep == "data/splits" or "test" in dep]


def test_rounds_and_encoders_fit_together() -> None:
    """Round one starts from the base; a later one has embeddings of its own and metrics that end in its name."""
    params = all_params(ROOT / "params.yaml")
    first, *later = params["rounds"].items()
    assert first == ("r1", {"embeddings": "base", "start": "models/base", "ending": ""})
    assert {"base", "tuned", "tuned_int8"} <= set(params["encoders"])
    for name, start in later:
        assert start["ending"] == f"_{name}" and start["embeddings"] in params["encoders"]


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
    """One word, five rooms: dvc.yaml, params.yaml and advanced.yaml, src/attune/stages, metrics and tests."""
    sections = all_params(ROOT / "params.yaml")
    files = {path.stem for path in (SOURCE / "attune" / "stages").glob("*.py")} - {"__init__"}
    assert set(pipeline()) == files == set(STAGES)
    assert set(sections) - NOT_A_STAGE == set(STAGES) - NO_SECTION
    assert all((ROOT / "tests" / "stages" / f"test_{name}.py").is_file() for name in STAGES)


def tracked(name: str) -> set[tuple[str, str]]:
    """Returns the sections that dvc.yaml tracks for a stage, as (file, section)."""
    pairs = set()
    for entry in body(name)["params"]:
        for file, sections in ({"params.yaml": [entry]} if isinstance(entry, str) else entry).items():
            pairs |= {(file, section) for section in sections if file != "libraries.yaml"}
    return pairs


@pytest.mark.parametrize("name", [name for name in STAGES if name not in ("report", "release")])
def test_a_stage_tracks_its_own_section_and_no_other(name: str) -> None:
    """Its section in either file, and `machine` where it computes; report and release show other stages' parameters.

    BM25 tries the languages that the model card names; base rehearses training and export.
    """
    homes = [
        file for file in ("params.yaml", "advanced.yaml") if name in YAML(typ="safe").load((ROOT / file).read_text())
    ]
    # params.yaml: evaluate.champion is an argument of stage champion alone
    own = {(file, name) for file in homes} - {("params.yaml", "evaluate")}
    own |= {("advanced.yaml", "release.languages")} if name == "evaluate" else REHEARSED if name == "base" else set()
    own |= {("advanced.yaml", READS[name])} if name in READS else set()
    assert own <= tracked(name) <= own | {("params.yaml", "machine"), ("advanced.yaml", "machine")}


@pytest.mark.parametrize("name", STAGES)
def test_machine_is_tracked_where_it_is_read(name: str) -> None:
    """A stage whose record has a field `machine` tracks threads and precision; one that encodes tracks batch_tokens."""
    code = closure(SOURCE / "attune" / "stages" / f"{name}.py")
    files = [SOURCE.parent / file for file in code if file.endswith(".py")]
    record_name = name.title().replace("_", "") + "Params"
    record = next(
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef) and node.name == record_name
    )
    bases = {base.id for base in record.bases if isinstance(base, ast.Name)}
    fields = {
        node.target.id for node in record.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    computes = "machine" in fields or "SharedParams" in bases
    if name not in ("report", "release"):
        assert computes == (("params.yaml", "machine") in tracked(name))
        reads_batch_tokens = any("machine.batch_tokens" in file.read_text() for file in files)
        assert reads_batch_tokens == (("advanced.yaml", "machine") in tracked(name))


def test_no_key_stands_in_both_parameter_files() -> None:
    """The two files merge into one set of parameters, of which the panel holds about twenty."""
    assert all_params(ROOT / "params.yaml")
    assert sum(map(len, YAML(typ="safe").load((ROOT / "params.yaml").read_text()).values())) <= 25


def test_report_tracks_every_section_that_it_shows() -> None:
    """The page shows all parameters but those of commands."""
    files = {file: YAML(typ="safe").load((ROOT / file).read_text()) for file in ("params.yaml", "advanced.yaml")}
    shown = {(file, section) for file, sections in files.items() for section in sections}
    assert tracked("report") == {(file, section) for file, section in shown if section not in ("judge", "demo")}


def test_every_stage_leaves_a_receipt() -> None:
    """Counts and figures of each stage are in metrics/, in git."""
    for name in STAGES:
        stage = body(name)
        paths = [
            path for out in (*stage.get("metrics", ()), *stage.get("outs", ())) if isinstance(out, dict) for path in out
        ]
        assert any(path.startswith("metrics/") for path in paths), name


def test_every_pinned_package_runs_on_the_oldest_python() -> None:
    """README promises Python 3.11, so no pin of constraints.txt may ask for a later patch of it."""
    oldest = "3.11.0"
    pinned = [line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().split()]
    wanted = {
        name: found[0].metadata["Requires-Python"] for name in pinned if (found := list(distributions(name=name)))
    }
    assert len(wanted) > 100
    assert not {name: said for name, said in wanted.items() if said and not SpecifierSet(said).contains(oldest)}


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


@pytest.mark.parametrize(
    "file", ["params.yaml", "advanced.yaml", "libraries.yaml", "dvc.yaml", "dvc.lock", "examples/miniature.yaml"]
)
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
