"""dvc.yaml of users' repositories and attune's own are one pipeline; a stage's hash is that of the code it runs."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from import_closure import SOURCE
from ruamel.yaml import YAML
from shipped_params import PANEL

from attune.cli.repository.closure import bare, code_hash, stage_names
from attune.cli.repository.pipeline import WIDTH, outputs, pipeline_text
from attune.cli.repository.product import NAMES, product_text, template
from attune.cli.repository.product_stages import all_options
from attune.cli.repository.versions import hash_of, versions_text
from attune.errors import BadInput
from attune.stage import all_params

ROOT = Path(__file__).resolve().parents[2]
PARAMS = all_params(PANEL)
PRODUCT = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
TEXT = pipeline_text(PARAMS)
OWN = YAML(typ="safe").load(TEXT)["stages"]
ADDED_BY_USERS = {
    "data/tasks",
    "models/rerankers/${mine.reranker}",
    "models/champions/${evaluate.champion}",
}  # once parameters name them


def body(stage: dict[str, Any]) -> dict[str, Any]:
    inner: dict[str, Any] = stage.get("do", stage)
    return inner


def merged(params: list[Any]) -> dict[str, list[str]]:
    """Returns the tracked parameters by file."""
    files: dict[str, list[str]] = {}
    for entry in params:
        for file, keys in (entry if isinstance(entry, dict) else {"params.yaml": [entry]}).items():
            files.setdefault(file, []).extend(keys)
    return files


def values(command: str) -> dict[str, str]:
    """Returns the program of a command and its options with their values."""
    program, *options = re.split(r"\s+(?=--)", re.sub(r".*attune\.(stages\.)?", "", command, count=1))
    return {"": program} | {name: value.strip("'") for name, _, value in (o.partition(" ") for o in options)}


def completed(name: str, command: str) -> dict[str, str]:
    """Returns what a user's command runs: its options and those that the package adds."""
    assert command.startswith("${stage} ")
    program, _, instance = command.split()[1].partition("@")
    words = all_options(name, instance, command.split()[2:])
    return {"": program} | {name: value.strip("'") for name, value in zip(words[::2], words[1::2], strict=True)}


def differences(own: dict[str, Any], product: dict[str, Any]) -> list[str]:
    """Returns what a user's pipeline has otherwise than attune's, beyond code and what users add."""
    found = [f"stages: {name}" for name in set(own) ^ {*product, "general"}]
    for name in set(own) & set(product):
        ours, theirs = body(own[name]), body(product[name])
        if completed(name, ours["cmd"]) != values(theirs["cmd"]):
            found.append(f"{name}: cmd")
        if own[name].get("foreach") != product[name].get("foreach"):
            found.append(f"{name}: foreach")
        kept = {dep for dep in theirs["deps"] if not dep.startswith("src/")} - ADDED_BY_USERS - {"libraries.yaml"}
        if set(ours["deps"]) != kept:
            found.append(f"{name}: deps")
        files, expected = merged(ours["params"]), merged(theirs["params"]) | {"libraries.yaml": []}
        entries = files.pop("libraries.yaml")
        room = "${programs.tuning}_" if "${programs.tuning}" in theirs["cmd"] else ""
        if entries != [f"attune.{room}{name}"] or {**files, "libraries.yaml": []} != expected:
            found.append(f"{name}: params")
        for key in ("outs", "metrics", "plots"):
            plain = re.sub("intervals|candidates", "scatter", str(theirs.get(key)))
            found += [f"{name}: {key}"] if str(ours.get(key)) != plain else []
    return found


def test_both_pipelines_are_one() -> None:
    """Stages, commands, data, parameters, outputs, metrics and plots are equal; only code is tracked otherwise."""
    assert differences(OWN, PRODUCT) == []


def test_the_comparison_can_fail() -> None:
    """A planted stage, option, dependency, parameter and output are each found."""
    changes: tuple[Callable[[dict[str, Any]], object], ...] = (
        lambda stages: stages.pop("drift"),
        lambda stages: stages["split"].update(cmd="${stage} split"),
        lambda stages: stages["split"].update(cmd=stages["split"]["cmd"] + " --out elsewhere"),
        lambda stages: stages["evaluate"]["foreach"].pop("bm25"),
        lambda stages: stages["train"]["do"]["deps"].pop(),
        lambda stages: stages["base"]["params"].pop(0),
        lambda stages: stages["merge"]["outs"].pop(),
    )
    for change in changes:
        own = copy.deepcopy(OWN)
        change(own)
        assert len(differences(own, PRODUCT)) == 1


def test_it_is_readable() -> None:
    """At most 280 lines, no code, comments where stages are not plain; an option and its value share a line."""
    lines = TEXT.splitlines()
    assert len(lines) <= 280 and not any("src/" in line for line in lines)
    assert not any(re.search(r" --[\w-]+$", line) for line in lines) and max(map(len, lines)) <= WIDTH
    assert sum(line.lstrip().startswith("#") for line in lines) >= 8


def test_what_users_add_is_tracked_once_it_is_named() -> None:
    """A task below data/tasks and a reranker become dependencies; without them, nothing has to exist."""
    params = copy.deepcopy(PARAMS)
    params["probe"]["tasks"]["mine"] = {"type": "retrieval", "path": "data/tasks/mine", "counts_as": "nothing"}
    params["mine"]["reranker"] = "judge"
    params["evaluate"]["champion"] = "last"
    stages = YAML(typ="safe").load(pipeline_text(params))["stages"]
    assert "data/tasks" in body(stages["probe"])["deps"] and "data/tasks" not in body(OWN["probe"])["deps"]
    assert "models/rerankers/${mine.reranker}" in body(stages["mine"])["deps"]
    champion = "models/champions/${evaluate.champion}"
    assert champion in body(stages["champion"])["deps"] and champion not in body(OWN["champion"])["deps"]


def test_git_ignores_what_dvc_keeps() -> None:
    """The outputs for .gitignore are those of attune's own, and general text; figures stay in git."""
    ours = {
        line[1:] for line in (ROOT / ".gitignore").read_text().splitlines() if re.match("/(data|models)/[a-z_]+$", line)
    }
    assert set(outputs(TEXT)) == ours | {"data/general"}


def test_an_entry_has_the_versions_that_attune_s_own_stage_tracks() -> None:
    """Those in its list of libraries.yaml; all for the report, which shows them."""
    content = YAML(typ="safe").load(versions_text(TEXT))
    libraries = YAML(typ="safe").load(product_text("libraries.yaml"))
    for key, entry in content["attune"].items():
        if isinstance(entry, dict) and key != "general":
            name = re.sub("^(stages|served)_", "", key)
            listed = merged(body(PRODUCT[name])["params"]).get("libraries.yaml", [])
            wanted = {name: libraries[name] for name in (libraries if name == "report" else listed)}
            assert {name: version for name, version in entry.items() if name != "code"} == wanted


def test_an_option_that_the_package_adds_is_part_of_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in no user's dvc.yaml, so DVC sees no other command."""
    before = hash_of("collect"), hash_of("prepare")
    stages = copy.deepcopy(PRODUCT)
    stages["collect"]["cmd"] += " --new data/new"
    monkeypatch.setattr("attune.cli.repository.product_stages.product_stages", lambda: stages)
    assert hash_of("collect") != before[0] and hash_of("prepare") == before[1]


def test_a_stage_is_named_with_its_instance() -> None:
    """Options name the instance's files; a missing or needless instance is refused, as the files would be others."""
    options = all_options("embed", "tuned", ["--model", "models/tuned"])
    assert "data/embeddings/tuned" in options and options[-2:] == ["--model", "models/tuned"]
    assert all_options("prepare", "", ["--out", "x"]).count("--out") == 1
    for stage, instance, words in (("embed", "", "expected embed@INSTANCE"), ("split", "a", "expected split")):
        with pytest.raises(BadInput, match=words):
            all_options(stage, instance, [])


def test_every_stage_has_a_hash() -> None:
    """libraries.yaml of a repository has attune's versions and a hash of each stage, and the same text each time."""
    content = YAML(typ="safe").load(versions_text(TEXT))
    hashes = content.pop("attune")
    assert content == YAML(typ="safe").load(product_text("libraries.yaml"))
    chosen = {"train", "merge", "export"}  # by programs.tuning
    keys = {*OWN} - chosen | {f"{room}_{name}" for room in ("stages", "served") for name in chosen}
    assert set(hashes) == {"version", "dvc_yaml", "retired", *keys}
    assert keys == {"general", *(name.replace(".", "_") for name in stage_names())}
    assert all(isinstance(hashes[key]["code"], str) for key in keys)
    assert versions_text(TEXT) == versions_text(TEXT)


def write_package(folder: Path, far: str) -> Path:
    """Writes a package with a stage that reads another file; returns its source folder."""
    (folder / "attune" / "stages").mkdir(parents=True)
    (folder / "attune" / "stages" / "one.py").write_text("from attune.far import thing\n")
    (folder / "attune" / "far.py").write_text(far)
    (folder / "attune" / "other.py").write_text("x = 1\n")
    return folder


FAR = '"""About."""\n\nthing = 1\n\n\ndef f() -> str:\n    """Does."""\n    return """a # b\n\n    c"""\n'


@pytest.mark.parametrize(
    ("far", "is_equal"),
    [
        (FAR.replace("About", "On"), True),
        (FAR.replace("Does", "Does it.\n\n    And more."), True),
        (FAR.replace("thing = 1", "# why\nthing = 1  # here"), True),
        (FAR.replace("thing = 1", "thing = 2"), False),
        (FAR.replace("a # b", "a # c"), False),
        (FAR.replace("b\n\n", "b\n"), False),
        (FAR.replace('"""Does."""\n    ', ""), True),
    ],
)
def test_a_hash_changes_with_code_only(far: str, is_equal: bool, tmp_path: Path) -> None:
    """Comments and docstrings leave it; values, and texts with their blank lines and hashes, change it."""
    before = code_hash("one", write_package(tmp_path / "a", FAR))
    assert (code_hash("one", write_package(tmp_path / "b", far)) == before) == is_equal


def test_a_file_that_a_stage_does_not_read_leaves_its_hash(tmp_path: Path) -> None:
    """Code beside the closure is no part of it."""
    source = write_package(tmp_path, FAR)
    before = code_hash("one", source)
    (source / "attune" / "other.py").write_text("x = 2\n")
    assert code_hash("one", source) == before


def test_bare_code_is_the_same_code() -> None:
    """Every file of attune without comments and docstrings still has the same statements."""
    import ast

    for file in sorted((SOURCE / "attune" / "cli").rglob("*.py")):
        text = file.read_text()
        assert _statements(ast.parse(text)) == _statements(ast.parse(bare_with_pass(text))), file


def bare_with_pass(text: str) -> str:
    """Returns bare code that can be parsed: a body that was a docstring only gets a `pass`."""
    lines = bare(text).splitlines()
    for at in range(len(lines) - 1, -1, -1):
        head = re.match(r"( *)(class|def|async def) .*:$", lines[at]) or re.match(r"( *)\) *(->.*)?:$", lines[at])
        following = lines[at + 1] if at + 1 < len(lines) else ""
        if head and len(following) - len(following.lstrip()) <= len(head[1]):
            lines.insert(at + 1, f"{head[1]}    pass")
    return "\n".join(lines)


def _statements(tree: Any) -> str:
    import ast

    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [each for each in node.body if not _is_said(each)]
    return ast.dump(tree)


def _is_said(node: Any) -> bool:
    import ast

    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return is_text or isinstance(node, ast.Pass)


def test_templates_and_packed_files_are_there() -> None:
    """setup.py packs what the package reads; each template is one that a new repository gets."""
    packed = (ROOT / "setup.py").read_text()
    assert all(f'"{name}"' in packed for name in (*NAMES, "data/general"))
    assert template("Makefile").startswith("#") and len(template("README.md").splitlines()) <= 45
