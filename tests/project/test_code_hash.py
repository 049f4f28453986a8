"""A stage's code hash covers what the stage loads without naming it in an import: listed modules, nested templates."""

import shutil
from functools import cache
from pathlib import Path

import pytest
from import_closure import SOURCE

from attune.cli.repository import closure
from attune.cli.repository.closure import code_hash

EVALUATION = SOURCE / "attune" / "evaluation"
OF_REPORT = sorted([*(EVALUATION / "checks").glob("[!_]*.py"), *EVALUATION.glob("*/templates/*")])
OF_THE_CARD = {"model_card.md.j2"}  # of stage export and release


def hash_after(stage: str, changed: Path, text: str, folder: Path) -> str:
    """Returns a stage's hash in a copy of the package in which a file ends with this text."""
    source = folder / "src"
    shutil.copytree(SOURCE / "attune", source / "attune", ignore=shutil.ignore_patterns("__pycache__"))
    copy = source / changed.relative_to(SOURCE)
    copy.write_text(copy.read_text() + text)
    return code_hash(stage, source)


@cache
def hash_of_report() -> str:
    return code_hash("report")


@pytest.mark.parametrize("file", [f for f in OF_REPORT if f.name not in OF_THE_CARD], ids=lambda file: file.name)
def test_a_changed_check_or_template_runs_the_report_again(file: Path, tmp_path: Path) -> None:
    """`attune upgrade` would otherwise keep statuses and pages of the former version."""
    text = "\nADDED = 1\n" if file.suffix == ".py" else "\nadded\n"
    assert hash_after("report", file, text, tmp_path) != hash_of_report()


def test_only_a_package_that_is_itself_imported_is_listed(tmp_path: Path) -> None:
    """`from attune.checks import one` beside pkgutil names a module; `from attune import checks` all of them."""
    package = tmp_path / "attune"
    (package / "checks").mkdir(parents=True)
    for name in ("__init__.py", "checks/__init__.py", "checks/one.py", "checks/two.py"):
        (package / name).write_text("x = 1\n")
    (package / "a.py").write_text("import pkgutil\nfrom attune.checks import one\n")
    (package / "b.py").write_text("import pkgutil\nfrom attune import checks\n")
    files = {name: {f.name for f in closure.closure(package / name, tmp_path)} for name in ("a.py", "b.py")}
    assert "two.py" not in files["a.py"] and {"one.py", "two.py"} <= files["b.py"]


def test_a_template_counts_by_its_whole_name(tmp_path: Path) -> None:
    """page.css is no part of a stage that names webpage.css."""
    folder = tmp_path / "attune" / "templates"
    folder.mkdir(parents=True)
    for name in ("page.css", "webpage.css"):
        (folder / name).write_text("p {}\n")
    (tmp_path / "attune" / "one.py").write_text('NAME = "webpage.css"\n')
    assert {f.name for f in closure.closure(tmp_path / "attune" / "one.py", tmp_path)} == {"one.py", "webpage.css"}
