"""`attune upgrade`: a newer attune runs only the stages whose code changed, and keeps parameters and comments."""

import shutil
from pathlib import Path

import pytest
from branches import git
from own_repository import build_wheel, environment, install, run, write_questions
from ruamel.yaml import YAML
from test_new import COLUMNS

from attune.cli.repository.product import template
from attune.cli.repository.upgrade import _with_outputs, _with_source
from attune.cli.repository.versions import is_older
from attune.stage import all_params

PAGE = "src/attune/evaluation/page/provenance.py"  # of the files that only the report reads
WRITTEN = "metrics/times.json"  # which an older attune did not have
JUDGED = "data/own/judgments.csv"  # likewise
EDITS = {
    PAGE: ("run `dvc repro` to make it", "run `dvc repro`, which makes it"),
    "pyproject.toml": ('version = "0.1.0"', 'version = "0.2.0"'),
    "src/attune/stages/prepare.py": ('"""', '# a comment runs nothing\n"""'),
    "src/attune/cli/repository/keys.py": ("RENAMED: dict[str, str] = {}", 'RENAMED = {"demo.port": "demo.door"}'),
    "advanced.yaml": ("  port: 8765", "  door: 8765\n  # Opens a second one.\n  is_double: false"),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> tuple[Path, Path]:
    """Two builds of attune: this one, and one with another sentence in the report and a renamed parameter."""
    edits = dict(EDITS)
    first = edits.pop("src/attune/stages/prepare.py")
    text = (Path(__file__).resolve().parents[2] / "src/attune/stages/prepare.py").read_text()
    edits["src/attune/stages/prepare.py"] = (text, text.replace(*first, 1))
    return wheel, build_wheel(tmp_path_factory.mktemp("new"), edits)


@pytest.fixture(scope="module")
def upgraded(wheels: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A repository with a lock of all stages after an upgrade: interpreter, folder and what the upgrade printed."""
    folder = tmp_path_factory.mktemp("upgrade")
    python = environment(folder / "environment")
    install(python, wheels[0])
    write_questions(folder / "faq.csv")
    run(folder, str(python), "-m", "attune", "new", "shop", "--data", "faq.csv", *COLUMNS)
    shop = folder / "shop"
    stand_in(shop)
    run(shop, str(python), "-m", "dvc", "commit", "-q", "-f")
    text = (shop / "advanced.yaml").read_text()
    (shop / "advanced.yaml").write_text(text.replace("  port: 8765", "  # ours\n  port: 9000  # of the proxy"))
    git(shop, "add", "-A")
    git(shop, "commit", "-q", "-m", "as if it had run")
    (shop / WRITTEN).unlink()
    (shop / JUDGED).unlink()
    install(python, wheels[1])
    return python, shop, run(shop, str(python), "-m", "attune", "upgrade").stdout.splitlines()


def stand_in(folder: Path) -> None:
    """Writes a file for each output and each input that no stage has made, so that DVC can lock them."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        stages = [stage for stage in repo.index.stages if stage.addressing and stage.cmd]
        paths = {Path(str(each.fs_path)) for stage in stages for each in (*stage.outs, *stage.deps) if each.fs_path}
    for path in sorted(paths, key=lambda path: (bool(path.suffix), path)):
        if not path.exists() and path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}\n")
        elif not path.exists():
            path.mkdir(parents=True)
            (path / "made.txt").write_text(path.name)


def test_gitignore_keeps_the_table_of_judgments() -> None:
    """An older one ignores all own data; a line that is there already is not written twice."""
    old = "/data/own/?*\n"
    new = _with_outputs(old, "stages: {}", [JUDGED])
    assert new == f"{old}!/{JUDGED}\n" and _with_outputs(new, "stages: {}", [JUDGED]) == new


def test_only_the_report_runs_again(upgraded: tuple[Path, Path, list[str]]) -> None:
    """A changed sentence of the report wakes stage report, by name and with the reason; a comment wakes nothing."""
    python, shop, printed = upgraded
    again = [line for line in printed if line.startswith("runs again: ")]
    assert again == ["runs again: report (libraries.yaml: attune.report.code modified)"]
    assert printed[0].startswith("attune 0.1.0 -> 0.2.0: wrote ") and "libraries.yaml" in printed[0]
    assert WRITTEN in printed[0] and (shop / WRITTEN).read_text() == "{}\n"
    assert JUDGED in printed[0] and (shop / JUDGED).read_text() == template("judgments.csv")
    plan = run(shop, str(python), "-m", "dvc", "repro", "--dry").stdout
    assert [line for line in plan.splitlines() if line.startswith("Running stage")] == ["Running stage 'report':"]


def test_renamed_keys_keep_value_and_comments(upgraded: tuple[Path, Path, list[str]]) -> None:
    """A renamed key has its value, the user's comments and its place; a new key comes with its comment."""
    _, shop, printed = upgraded
    assert all_params(shop / "params.yaml")["demo"]["door"] == 9000
    text = (shop / "advanced.yaml").read_text()
    assert "  # ours\n  door: 9000  # of the proxy\n  # Opens a second one.\n  is_double: false\n" in text
    assert "advanced.yaml: demo.port is now demo.door" in printed
    assert "advanced.yaml: new, demo.is_double: False" in printed
    assert YAML(typ="safe").load((shop / "libraries.yaml").read_text())["attune"]["version"] == "0.2.0"


def test_a_second_upgrade_changes_nothing(upgraded: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """The same package again writes nothing; a dry run writes nothing, either."""
    python, shop, _ = upgraded
    copy = Path(shutil.copytree(shop, tmp_path / "shop", symlinks=True))
    before = {path: path.read_bytes() for path in copy.glob("*.*") if path.is_file()}
    assert "up to date" in run(copy, str(python), "-m", "attune", "upgrade").stdout
    git(copy, "checkout", "-q", "HEAD", "--", ".")
    old = (copy / "libraries.yaml").read_bytes()
    assert "would write" in run(copy, str(python), "-m", "attune", "upgrade", "--dry").stdout
    assert (copy / "libraries.yaml").read_bytes() == old != before[copy / "libraries.yaml"]


def test_an_edited_pipeline_is_not_overwritten(upgraded: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """dvc.yaml that a user has changed stops the upgrade in one line, and no file changes."""
    python, shop, _ = upgraded
    copy = Path(shutil.copytree(shop, tmp_path / "shop", symlinks=True))
    (copy / "dvc.yaml").write_text((copy / "dvc.yaml").read_text() + "# mine\n")
    status = git(copy, "status", "--porcelain")
    done = run(copy, str(python), "-m", "attune", "upgrade", check=False)
    assert done.returncode == 1 and "edited by hand" in done.stderr and done.stderr.count("\n") == 1
    assert git(copy, "status", "--porcelain") == status


def test_an_older_attune_changes_nothing(upgraded: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    """A colleague who still has the older one is told to install the newer; stages say the same, in one line."""
    python, shop, _ = upgraded
    copy = Path(shutil.copytree(shop, tmp_path / "shop", symlinks=True))
    file = copy / "libraries.yaml"
    tracked = YAML(typ="safe").load(file.read_text())["attune"]["collect"]["code"]
    file.write_text(file.read_text().replace("version: '0.2.0'", "version: '0.10.0'").replace(tracked, "0" * 12))
    status = git(copy, "status", "--porcelain")
    for command in (("attune", "upgrade"), ("attune.cli.repository.stage", "collect")):
        done = run(copy, str(python), "-m", *command, check=False)
        assert done.returncode == 1 and "; install attune 0.10.0" in done.stderr
        assert "attune upgrade, or" not in done.stderr and done.stderr.count("\n") == 1
    assert git(copy, "status", "--porcelain") == status


@pytest.mark.parametrize(
    ("version", "other", "expected"),
    [
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "0.10.0", True),
        ("0.2.0", "0.2.0", False),
        ("unknown", "0.2.0", False),
        ("0.2.0", "0.1.9", False),
    ],
)
def test_versions_are_compared_by_number(version: str, other: str, expected: bool) -> None:
    """10 is later than 9, and no order is made up where a version is unknown."""
    assert is_older(version, other) == expected


def test_the_makefile_takes_the_new_source_and_keeps_another_one() -> None:
    """A commit of attune is replaced by that of the installation; a source of one's own, or no known one, stays."""
    own = "# x\nATTUNE ?= attune[EXTRA] @ git+https://host/a.git@1f\nall:\n"
    assert _with_source(own, "attune[EXTRA] @ git+https://host/a.git@2e").splitlines()[1].endswith("a.git@2e")
    assert _with_source(own, "") == own
    mirror = "ATTUNE ?= $(WHEEL)\n"
    assert _with_source(mirror, "attune[EXTRA] @ git+https://host/a.git@2e") == mirror
