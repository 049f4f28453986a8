"""A project is a folder: its own dvc.yaml, dvc.lock and metrics, wherever in the repository it lies."""

from pathlib import Path
from typing import Any

import pytest
from branches import GIT, git
from dvc.repo import Repo
from dvc.utils import serialize

from attune.cli.review.conflicts import refuse_conflicts
from attune.cli.review.history import TARGETS, Revision, default_branch, dvc_project, lock_facts
from attune.errors import BadInput

PIPELINE = """stages:
  one:
    cmd: cp in.txt metrics/one.json
    deps: [in.txt]
    metrics: [metrics/one.json: {cache: false}]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two domains, each a pipeline in a sub-folder of one DVC repository; the default branch is called trunk."""
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    for name in ("shop", "help"):
        (tmp_path / name / "metrics").mkdir(parents=True)
        (tmp_path / name / "metrics" / "one.json").write_text(f'{{"of": "{name}"}}')
        (tmp_path / name / "dvc.yaml").write_text(PIPELINE)
        (tmp_path / name / "in.txt").write_text("{}")
    git(tmp_path, "init", "-q", "--initial-branch", "trunk")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "two domains")
    return tmp_path


@pytest.mark.parametrize("name", ["shop", "help"])
def test_a_revision_is_read_below_the_folder_of_the_project(repository: Path, name: str) -> None:
    """Two domains in one repository: each reads its own files, not those of the repository's root."""
    with Repo(str(repository / name)) as repo:
        revision = Revision(repo, "trunk", repository / name)
    assert revision.read("metrics/one.json") == f'{{"of": "{name}"}}'
    assert revision.paths("metrics", ".json") == ["metrics/one.json"]
    assert revision.commit == git(repository, "rev-parse", "HEAD")


def test_only_stages_of_the_folder_s_own_pipeline_are_judged(repository: Path) -> None:
    """A stale neighbour stops nobody else's merge."""
    with dvc_project(repository / "shop") as repo:
        facts = lock_facts(repo, repository / "shop")
    assert (facts["n_stages"], facts["stale"]) == (1, ["one (not in dvc.lock)"])


def test_parameters_are_parsed_once_and_read_anew_next_time(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two stages track one file: one parse; a change between two readings is seen, and DVC is left as it was."""
    parsed: list[str] = []
    load = serialize.load_yaml

    def counting(path: str, **options: Any) -> Any:
        parsed.append(Path(path).name)
        return load(path, **options)

    monkeypatch.setattr(serialize, "load_yaml", counting)
    monkeypatch.setitem(serialize.LOADERS, ".yaml", load)
    shop = repository / "shop"
    monkeypatch.chdir(shop)
    two = PIPELINE.partition("\n")[2].replace("one", "two").replace("deps: [in.txt]", "params: [a]")
    (shop / "dvc.yaml").write_text(PIPELINE.replace("deps: [in.txt]", "params: [a, b]") + two)
    (shop / "metrics" / "two.json").write_text("{}")
    for value, stale in ((1, []), (2, ["one (params.yaml: a modified)", "two (params.yaml: a modified)"])):
        (shop / "params.yaml").write_text(f"a: {value}\nb: 1\n")
        if value == 1:
            with Repo(str(shop)) as repo:
                repo.commit(force=True)
        parsed.clear()
        with dvc_project(shop) as repo:
            assert lock_facts(repo, shop)["stale"] == stale
        assert parsed.count("params.yaml") <= 2  # DVC has two file systems for one disk
    assert serialize.LOADERS[".yaml"] is load


def test_the_reason_names_the_key_within_a_section(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that tracks a section, or an entry with versions, is stale by the keys that changed, went or came."""
    shop = repository / "shop"
    monkeypatch.chdir(shop)
    (shop / "dvc.yaml").write_text(PIPELINE.replace("deps: [in.txt]", "params: [a, b.c]"))
    (shop / "params.yaml").write_text("a: {x: 1, y: [1], z: 1}\nb: {c: {code: one, numpy: 2.4.6}}\n")
    with Repo(str(shop)) as repo:
        repo.commit(force=True)
    for text, reason in (
        ("a: {x: 1, y: [1], z: 1}\nb: {c: {code: one, numpy: 2.5.0}}\n", "params.yaml: b.c.numpy modified"),
        ("a: {x: 1, y: [2], w: 1}\nb: {c: {code: one, numpy: 2.4.6}}\n", "params.yaml: a.y modified and 2 more"),
        ("a: {x: 1, y: [1]}\nb: {c: {code: one, numpy: 2.4.6}}\n", "params.yaml: a.z removed"),
    ):
        (shop / "params.yaml").write_text(text)
        with dvc_project(shop) as repo:
            assert lock_facts(repo, shop)["stale"] == [f"one ({reason})"]


@pytest.fixture
def without_ci(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No variables of CI, in which this suite may run, and no settings of the user."""
    for name in TARGETS:
        monkeypatch.delenv(name, raising=False)
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_the_default_branch_is_the_remote_s_whatever_its_name(
    repository: Path, tmp_path: Path, without_ci: pytest.MonkeyPatch
) -> None:
    """A clone knows it, and no variable of CI or local main changes that."""
    git(tmp_path, "clone", "-q", str(repository), "clone")
    git(tmp_path / "clone", "branch", "main")
    without_ci.setenv("CI_DEFAULT_BRANCH", "main")
    assert default_branch(tmp_path / "clone") == "origin/trunk"


def test_without_a_remote_s_head_a_branch_that_exists_is_taken(
    repository: Path, without_ci: pytest.MonkeyPatch
) -> None:
    """The only branch; git's setting among several; main before it; CI's target first; none of these is an error."""
    assert default_branch(repository) == "trunk"
    git(repository, "branch", "topic")
    git(repository, "branch", "wiki")
    with pytest.raises(BadInput, match=r"got topic, trunk, wiki, and no origin/HEAD .*; name it: --against BRANCH"):
        default_branch(repository)
    git(repository, "config", "init.defaultBranch", "trunk")
    assert default_branch(repository) == "trunk"
    git(repository, "branch", "main")
    assert default_branch(repository) == "main"
    without_ci.setenv("GITHUB_BASE_REF", "wiki")
    assert default_branch(repository) == "wiki"
    without_ci.setenv("GITHUB_BASE_REF", "elsewhere")  # of another repository
    assert default_branch(repository) == "main"


@pytest.mark.parametrize("variable", TARGETS)
def test_a_checkout_of_ci_has_its_target_s_branch_at_origin(
    repository: Path, tmp_path: Path, without_ci: pytest.MonkeyPatch, variable: str
) -> None:
    """Fetched branches without origin/HEAD, and a commit checked out that no branch names."""
    git(repository, "branch", "topic")
    checkout = tmp_path / "checkout"
    git(tmp_path, "init", "-q", str(checkout))
    git(checkout, "remote", "add", "origin", str(repository))
    git(checkout, "fetch", "-q", "--depth", "1", "origin", "+refs/heads/*:refs/remotes/origin/*")
    git(checkout, "checkout", "-q", "--detach", "origin/topic")
    with pytest.raises(BadInput, match="got origin/topic, origin/trunk, and"):
        default_branch(checkout)
    without_ci.setenv(variable, "trunk")
    assert default_branch(checkout) == "origin/trunk"
    git(checkout, "branch", "trunk", "HEAD")  # an old one of this machine
    assert default_branch(checkout) == "origin/trunk"
    git(checkout, "update-ref", "-d", "refs/remotes/origin/topic")
    without_ci.delenv(variable)
    assert default_branch(checkout) == "origin/trunk"


def test_without_commits_or_git_no_branch_is_made_up(tmp_path: Path, without_ci: pytest.MonkeyPatch) -> None:
    """A repository without a commit is an error; without a repository it is main, which no revision is found for."""
    without_ci.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert default_branch(tmp_path) == "main"
    git(tmp_path, "init", "-q")
    with pytest.raises(BadInput, match="got no branch with a commit, and"):
        default_branch(tmp_path)


def test_conflict_markers_in_the_lock_are_named_as_such(repository: Path) -> None:
    """File, line and what to do; without them nothing is refused, nor without a lock."""
    lock = repository / "shop" / "dvc.lock"
    refuse_conflicts(lock.parent)
    lock.write_text("schema: '2.0'\nstages:\n")
    refuse_conflicts(lock.parent)
    lock.write_text("schema: '2.0'\n<<<<<<< HEAD\nstages:\n=======\n>>>>>>> theirs\n")
    words = r"dvc\.lock:2: got a merge's conflict markers, .*; git checkout --ours dvc\.lock metrics, then dvc repro"
    with pytest.raises(BadInput, match=words):
        refuse_conflicts(lock.parent)
    with pytest.raises(BadInput, match=words), dvc_project(lock.parent):
        pass
