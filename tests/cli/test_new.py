"""`attune new`: from a csv and an installed wheel to a repository whose data travel."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from branches import git
from command_lines import run_here
from own_repository import environment, install, run, write_questions
from ruamel.yaml import YAML
from shipped_params import NAMES, SHIPPED

from attune.cli.main import main
from attune.cli.repository import product
from attune.cli.repository.new import _into_git, _next_step
from attune.cli.repository.versions import installed_from
from attune.stage import all_params

COLUMNS = ("--column", "query=question", "--column", "document=answer")
MAX_FILES = 15  # of a new repository that belong to its user
WRITTEN = {"dvc.yaml", "libraries.yaml", "constraints.txt"}  # anew by each `attune upgrade`


@pytest.fixture(autouse=True)
def shipped_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parameters that a wheel packs, also where the command runs from this checkout."""
    from_here = product.product_file
    monkeypatch.setattr(product, "product_file", lambda name: SHIPPED / name if name in NAMES else from_here(name))


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The interpreter of an environment with attune's wheel."""
    interpreter = environment(tmp_path_factory.mktemp("wheel") / "environment")
    install(interpreter, wheel)
    return interpreter


@pytest.fixture(scope="module")
def made(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that the wheel has made of a csv (read-only), and what it has printed."""
    folder = tmp_path_factory.mktemp("made")
    write_questions(folder / "faq.csv")
    done = run(folder, str(python), "-m", "attune", "new", "shop", "--data", "faq.csv", *COLUMNS)
    (folder / "printed").write_text(done.stdout)
    return folder / "shop"


def test_a_new_repository_is_small_and_committed(made: Path) -> None:
    """At most 15 files of the user's, all in one commit but the data, which DVC keeps; nothing is left to do in git."""
    files = git(made, "ls-files").splitlines()
    assert set(files) >= WRITTEN and len(set(files) - WRITTEN) <= MAX_FILES
    assert {"dvc.yaml", "params.yaml", "data/own/faq.csv.dvc", "AGENTS.md", "tests/test_data.py"} <= set(files)
    assert "data/own/faq.csv" not in files and (made / "data" / "own" / "faq.csv").is_file()
    assert git(made, "status", "--porcelain") == "" and git(made, "log", "--format=%s").count("\n") == 0
    assert "src/" not in (made / "dvc.yaml").read_text()


def test_every_input_of_a_stage_is_there_or_made(made: Path) -> None:
    """Each input of a stage is another stage's output, or lies in the repository from the start."""
    from dvc.repo import Repo

    with Repo(str(made)) as repo:
        stages = [stage for stage in repo.index.stages if stage.addressing and stage.cmd]
        outs = [Path(str(out.fs_path)) for stage in stages for out in stage.outs]
        deps = {Path(str(dep.fs_path)) for stage in stages for dep in stage.deps if dep.fs_path}
    lacking = [
        dep
        for dep in deps
        if not dep.exists() and not any(dep in (out, *out.parents) or out in dep.parents for out in outs)
    ]
    assert lacking == []


def test_its_parameters_fit_the_data(made: Path) -> None:
    """Source, path, columns and name are set, comments stay, and the first lines say what was found."""
    params = all_params(made / "params.yaml")
    assert (params["collect"]["source"], params["collect"]["path"]) == ("pairs", "data/own/faq.csv")
    assert (params["collect"]["columns"]["query"], params["collect"]["columns"]["document"]) == ("question", "answer")
    assert params["release"]["name"] == "shop" and params["gate"]["retired"] == []
    assert "# without ids, equal texts are one query, or one document" in (made / "params.yaml").read_text()
    printed = (made.parent / "printed").read_text()
    assert "110 queries, 110 documents" in printed and "make repro" in printed


def test_languages_are_those_of_the_data(tmp_path: Path) -> None:
    """Where no text is in the declared one: card and BM25 take what was found, and the reason is printed."""
    things = ("Bestellung", "Lieferung", "Rechnung", "Adresse", "Batterie", "Zahlung", "Garantie", "Anmeldung")
    asked = ("ändern", "verfolgen", "bezahlen", "löschen", "verlängern")
    rows = [
        f"Wie kann ich meine {thing} {verb}?,Ihre {thing} können Sie im Laden an der Ecke bei uns selbst {verb}.\n"
        for thing in things
        for verb in asked
    ]
    (tmp_path / "faq.csv").write_text("question,answer\n" + "".join(rows), encoding="utf-8")
    done = run_here(main, tmp_path, "new", "laden", "--data", "faq.csv", *COLUMNS)
    assert done.returncode == 0, done.stderr
    assert "  languages: [de]\n" in (tmp_path / "laden" / "advanced.yaml").read_text(encoding="utf-8")
    assert "release.languages: ['de'], as the texts are in de (40 documents and 40 queries)" in done.stdout
    assert "ATT048" not in done.stdout


def test_its_data_pass_and_its_test_can_fail(made: Path, python: Path, tmp_path: Path) -> None:
    """The test of the data runs from the wheel, is green, and is red for cells that read like empty ones."""
    copy = Path(shutil.copytree(made, tmp_path / "shop", symlinks=True))
    command = (str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert "1 passed" in run(copy, *command).stdout
    with (copy / "data" / "own" / "faq.csv").open("a") as file:
        file.write("nan,An answer to nothing that anybody has asked for in this shop\n")
    done = run(copy, *command, check=False)
    assert done.returncode == 1 and "texts that read like empty cells" in done.stdout


def test_data_travel(made: Path, python: Path, tmp_path: Path) -> None:
    """After a push, a clone pulls and runs nothing; experiments of the queue, which run in copies, find the data."""
    owner = Path(shutil.copytree(made, tmp_path / "owner", symlinks=True))
    dvc = (str(python), "-m", "dvc")
    run(owner, *dvc, "remote", "add", "-d", "storage", str(tmp_path / "storage"))
    run(owner, *dvc, "repro", "-q", "collect", "general")
    git(owner, "add", "-A")
    git(owner, "commit", "-q", "-m", "collected")
    run(owner, *dvc, "push", "-q")
    git(tmp_path, "clone", "-q", str(owner), str(tmp_path / "colleague"))
    colleague = tmp_path / "colleague"
    assert not (colleague / "data" / "own" / "faq.csv").exists()
    run(colleague, *dvc, "pull", "-q", "--allow-missing")
    assert (colleague / "data" / "own" / "faq.csv").read_bytes() == (owner / "data" / "own" / "faq.csv").read_bytes()
    said = run(colleague, *dvc, "repro", "collect", "general").stdout
    assert "Running stage" not in said and git(colleague, "status", "--porcelain") == ""
    less = ("-S", "collect.columns.title=question")
    run(owner, *dvc, "exp", "run", "--queue", *less, "collect")
    run(owner, *dvc, "exp", "run", "--run-all")
    assert "Success" in run(owner, *dvc, "queue", "status").stdout


def test_another_version_of_the_code_runs_nothing(made: Path, python: Path, tmp_path: Path) -> None:
    """A stage whose code is not the tracked one stops in one line that names the way out."""
    copy = Path(shutil.copytree(made, tmp_path / "shop", symlinks=True))
    file = copy / "libraries.yaml"
    versions = YAML(typ="safe").load(file.read_text())["attune"]
    file.write_text(file.read_text().replace(versions["collect"]["code"], "0" * 12))
    done = run(copy, str(python), "-m", "dvc", "repro", "collect", check=False)
    assert done.returncode != 0 and not (copy / "data" / "raw").exists()
    assert "attune.collect.code is 000000000000" in done.stderr and "run: attune upgrade" in done.stderr


def test_nothing_is_left_of_a_repository_that_cannot_be_made(tmp_path: Path) -> None:
    """Unreadable data, unknown columns and a folder that is taken are one line each; no folder remains."""
    write_questions(tmp_path / "faq.csv")
    for arguments, words in (
        (("--data", "absent.csv"), "absent.csv: not found"),
        (("--data", "faq.csv", "--column", "query=q", "--column", "document=d"), "the columns are answer, question"),
        (("--data", "faq.csv", "--column", "query=questoin", *COLUMNS[2:]), "query=questoin: got no such column"),
        (("--data", "."), "lies inside the data"),
    ):
        done = run_here(main, tmp_path, "new", "shop", *arguments)
        assert done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
        assert [path.name for path in tmp_path.iterdir()] == ["faq.csv"]
    (tmp_path / "faq.csv").rename(tmp_path / "judgments.csv")
    done = run_here(main, tmp_path, "new", "shop", "--data", "judgments.csv", *COLUMNS)
    assert done.returncode == 1 and "rename the data" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["judgments.csv"]
    (tmp_path / "judgments.csv").rename(tmp_path / "faq.csv")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").touch()
    done = run_here(main, tmp_path, "new", "shop", "--data", "faq.csv", *COLUMNS)
    assert done.returncode == 1 and "is not empty" in done.stderr
    assert [path.name for path in (tmp_path / "shop").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("told", "source"),
    [
        (
            '{"url": "https://me:secret@host/a.git", "vcs_info": {"vcs": "git", "commit_id": "1f"}}',
            "git+https://host/a.git",
        ),
        ('{"url": "ssh://git@host/a.git", "vcs_info": {"vcs": "git", "commit_id": "1f"}}', "git+ssh://git@host/a.git"),
        ('{"url": "file:///tmp/attune-0.1.0.whl", "archive_info": {}}', ""),
        (None, ""),
    ],
)
def test_the_makefile_names_where_attune_came_from(
    told: str | None, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installation from git is named with its commit and without secrets; a path of this machine never is."""

    class Distribution:
        def read_text(self, name: str) -> str | None:
            return told

    monkeypatch.setattr("attune.cli.repository.versions.distribution", lambda name: Distribution())
    assert installed_from() == (f"attune[EXTRA] @ {source}@1f" if source else "")


def test_make_lists_its_targets_and_says_what_it_lacks(made: Path, tmp_path: Path) -> None:
    """Without attune, `make` makes an environment only if it knows where attune comes from."""
    (tmp_path / "python").symlink_to("/bin/false")
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    listed = subprocess.run(["make"], cwd=made, env=os.environ | path, capture_output=True, text=True, check=True)
    assert "make repro" in listed.stdout and "make upgrade" in listed.stdout
    done = subprocess.run(
        ["make", "gate"], cwd=made, env=os.environ | path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "ATTUNE is empty" in done.stderr and not (made / ".venv").exists()


def test_make_comment_prints_the_comment_alone(made: Path, tmp_path: Path) -> None:
    """Workflows post what it prints; what make says of an environment that is ready is no part of it."""
    copy = Path(shutil.copytree(made, tmp_path / "shop", symlinks=True))
    (copy / ".venv/bin").mkdir(parents=True)
    (copy / ".venv/ready").touch()
    (copy / ".venv/bin/attune").write_text("#!/bin/sh\necho the comment\n")
    (copy / ".venv/bin/attune").chmod(0o755)
    done = subprocess.run(["make", "comment"], cwd=copy, capture_output=True, text=True, check=True)
    assert done.stdout == "the comment\n"


def test_inside_a_git_repository_it_becomes_a_part_of_that(tmp_path: Path) -> None:
    """One commit with the folder's files and no others, which stay staged; no repository within the other."""
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").touch()
    git(tmp_path, "add", "theirs.txt")
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "dvc.yaml").touch()
    _into_git(tmp_path / "search", [])
    assert not (tmp_path / "search" / ".git").exists()
    assert git(tmp_path, "ls-tree", "-r", "--name-only", "HEAD") == "search/dvc.yaml"
    assert git(tmp_path, "status", "--porcelain") == "A  theirs.txt"


def test_a_hook_that_refuses_the_commit_leaves_nothing_staged(tmp_path: Path) -> None:
    """The folder is gone, and the user's next commit takes none of its files along; what was staged before stays."""
    write_questions(tmp_path / "faq.csv")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "faq.csv")
    hook = tmp_path / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    done = run_here(main, tmp_path, "new", "shop", "--data", "faq.csv", *COLUMNS)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert not (tmp_path / "shop").exists() and git(tmp_path, "status", "--porcelain") == "A  faq.csv"


@pytest.mark.parametrize(
    ("place", "command"),
    [("a/b", "cd a/b && make repro"), ("my shop", "cd 'my shop' && make repro"), (".", "make repro")],
)
def test_the_next_step_runs_from_where_the_user_is(
    place: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested folders, spaces, and the folder itself."""
    monkeypatch.chdir(tmp_path)
    assert _next_step((tmp_path / place).resolve()) == command


def test_two_domains_are_parts_of_one_dvc_repository(tmp_path: Path) -> None:
    """Made in a repository that has DVC, they are in its index and their data in its cache; workflows stay its own."""
    git(tmp_path, "init", "-q")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    write_questions(tmp_path / "faq.csv")
    for name in ("shop", "help"):
        done = run_here(main, tmp_path, "new", name, "--data", "faq.csv", *COLUMNS)
        assert done.returncode == 0, done.stderr
    files = git(tmp_path, "ls-files").splitlines()
    assert {"shop/dvc.yaml", "help/dvc.yaml", "shop/data/own/faq.csv.dvc"} <= set(files)
    assert not [name for name in files if "/.dvc/" in name or ".github" in name or "gitlab" in name]
    stages = run(tmp_path, sys.executable, "-m", "dvc", "stage", "list", "-R", ".", "--name-only").stdout.split()
    assert {"shop/dvc.yaml:collect", "help/dvc.yaml:report"} <= set(stages)


def test_a_folder_with_an_encoder_travels_with_the_data(tiny_encoder: Path, tmp_path: Path) -> None:
    """Its copy in data/own is in DVC, pinned by sha256, and named by its place there, wherever the command runs."""
    write_questions(tmp_path / "faq.csv")
    shutil.copytree(tiny_encoder, tmp_path / "tiny")
    done = run_here(main, tmp_path, "new", "shop", "--data", "faq.csv", *COLUMNS, "--base", "tiny")
    assert done.returncode == 0, done.stderr
    base = all_params(tmp_path / "shop" / "params.yaml")["base"]
    assert base["folder"] == "data/own/tiny" and set(base["sha256"]) >= {"config.json", "model.safetensors"}
    assert {"data/own/faq.csv.dvc", "data/own/tiny.dvc"} <= set(git(tmp_path / "shop", "ls-files").splitlines())
