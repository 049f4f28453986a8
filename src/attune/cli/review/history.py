"""Project state as DVC and git record it: staleness of dvc.lock, files in git, and revisions.

Nothing here needs data. Outputs that a clone has not pulled count as dvc.lock records them, as in
`dvc repro --allow-missing`. Files that git keeps (`cache: false`) are always there, so their hashes are compared and
hand-edited figures show up. A project is a folder with a dvc.yaml; a repository may hold several, in sub-folders.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dvc.dependency.param import ParamsDependency
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM, SCMError, resolve_rev
from dvc.utils import serialize

from attune.cli.review.conflicts import refuse_conflicts
from attune.errors import BadInput

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.stage import Stage

MAIN = "main"
# environment variables of CI with the branch that a change is merged into: GitHub's, GitLab's, and GitLab's default
TARGETS = ("GITHUB_BASE_REF", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME", "CI_DEFAULT_BRANCH")
GONE = object()  # stands for a parameter that is not there
STATES = {  # DVC's names for the states of a file in git
    "new": "no hash in dvc.lock",
    "deleted": "missing",
    "modified": "differs from its hash in dvc.lock (edited by hand, or dvc.lock is not committed)",
}


def project_root(folder: Path) -> Path:
    """Returns a project's folder with links resolved, as DVC compares paths by their text.

    Raises:
        BadInput: no project there.
    """
    if not (folder / "dvc.yaml").is_file():
        raise BadInput(f"{folder / 'dvc.yaml'}: not found; run from the project's root, or name it: attune gate FOLDER")
    return folder.resolve()


def default_branch(folder: Path) -> str:
    """Returns the branch that changes are merged into, such as origin/trunk.

    That is origin's default branch. Where git does not know it, as in a checkout of CI or without a remote, it is the
    first that exists, at origin or here, of: the target that CI names, main, git's init.defaultBranch, master; else the
    only branch. Without git it is main, which no revision is found for.

    Raises:
        BadInput: there are several branches, and none of these names, or no commit yet.
    """
    if head := _git(folder, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"):
        return head
    refs = _git(folder, "for-each-ref", "--format=%(refname)", "refs/heads", "refs/remotes/origin")
    if refs is None:
        return MAIN
    branches = [re.sub("^refs/(heads|remotes)/", "", ref) for ref in refs.split()]
    names = [*map(os.environ.get, TARGETS), MAIN, _git(folder, "config", "init.defaultBranch"), "master"]
    wanted = (branch for name in names if name for branch in (f"origin/{name}", name))
    names_there = {branch.removeprefix("origin/") for branch in branches}
    found = next((branch for branch in wanted if branch in branches), "")
    if not found and len(names_there) == 1:
        found = min(branches, key=lambda branch: not branch.startswith("origin/"))
    if not found:
        several = ", ".join(branches) or "no branch with a commit"
        raise BadInput(
            f"{folder}: got {several}, and no origin/HEAD that says which one is merged into; name it: --against BRANCH"
        )
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Returns git's output; None where it fails, or there is no git."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


@contextmanager
def _yaml_read_once() -> Iterator[None]:
    """Lets DVC parse a parameter file once, not for each stage that tracks a key of it: about a hundred times."""
    read: dict[tuple[Any, str], Any] = {}

    def load(path: str, fs: Any = None, **options: Any) -> Any:  # noqa: ANN401
        if (fs, path) not in read:
            read[fs, path] = serialize.load_yaml(path, fs=fs, **options)
        return deepcopy(read[fs, path])

    former = serialize.LOADERS.get(".yaml")
    serialize.LOADERS[".yaml"] = load
    try:
        yield
    finally:
        if former is None:
            del serialize.LOADERS[".yaml"]
        else:
            serialize.LOADERS[".yaml"] = former


@contextmanager
def dvc_project(folder: Path) -> Iterator[Repo]:
    """Opens and locks the DVC repository of the project in a folder.

    Raises:
        BadInput: no project there, conflict markers in its dvc.lock, or DVC cannot read its dvc.yaml, dvc.lock or
            parameters.
    """
    root = project_root(folder)
    refuse_conflicts(root)
    try:
        with Repo(str(root)) as repo, repo.lock, _yaml_read_once():  # the lock that DVC itself takes to read the stages
            yield repo
    except DvcException as error:
        raise BadInput(f"{folder}: DVC says: {error}; mend what it names, or restore it from git") from None


def lock_facts(repo: Repo, folder: Path) -> dict[str, Any]:
    """Returns the stages that would run again, each with the reason, and the files in git by what is wrong with them.

    Only stages of the folder's own dvc.yaml count.

    A stage is stale where it has another command, other parameters, code or data than those that dvc.lock records; a
    file that a stage leaves in git must have the hash there.
    """
    graph = repo.index.graph
    pipeline = str(project_root(folder) / "dvc.yaml")
    stages = sorted((stage for stage in graph if stage.path == pipeline), key=lambda stage: stage.addressing)
    reasons = {stage: _stale_reason(stage, list(graph.successors(stage))) for stage in stages}
    outs = [out for stage in stages for out in stage.outs if not out.use_cache]
    states = {str(out): next(iter(out.status().values()), "") if out.hash_info else "new" for out in outs}
    files = {words: sorted(name for name, its in states.items() if its == state) for state, words in STATES.items()}
    return {
        "n_stages": len(stages),
        "stale": [f"{stage.addressing.rpartition(':')[2]} ({why})" for stage, why in reasons.items() if why],
        "n_files": len(outs),
        "files": {words: names for words, names in files.items() if names},
    }


def _stale_reason(stage: "Stage", upstream: "list[Stage]") -> str:
    if not stage.is_callback and all(not out.hash_info for out in stage.outs):
        return "not in dvc.lock"
    if stage.changed_stage():
        return "its command changed"
    if not stage.changed_deps(allow_missing=True, upstream=upstream):
        return ""
    changed = [line for dep in stage.deps for line in _changes(dep)]
    others = f" and {len(changed) - 1} more" if changed[1:] else ""
    return f"{changed[0]}{others}" if changed else "it read an older output of another stage"


def _changes(dep: "Dependency") -> Iterator[str]:
    """Yields what a dependency has otherwise than dvc.lock; of a section of parameters, each key."""
    if not isinstance(dep, ParamsDependency):
        yield from (line for line in _states(dep.status()) if not line.endswith("deleted"))
        return
    old, new = dep.hash_info.value or {}, dep.read_params()
    for name in dict.fromkeys([*(dep.params or new), *old]):
        yield from (f"{dep}: {line}" for line in _differences(name, old.get(name, GONE), new.get(name, GONE)))


def _differences(name: str, old: Any, new: Any) -> Iterator[str]:  # noqa: ANN401
    """Yields a line for each value that is new, removed or modified, nested keys joined by dots."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _differences(f"{name}.{key}", old.get(key, GONE), new.get(key, GONE))
    elif old != new:
        yield f"{name} {'new' if old is GONE else 'removed' if new is GONE else 'modified'}"


def _states(status: Mapping[str, Any]) -> Iterator[str]:
    """Flattens DVC's nested status to lines such as "params.yaml: train modified"."""
    for name, state in status.items():
        if isinstance(state, Mapping):
            yield from (f"{name}: {line}" for line in _states(state))
        else:
            yield f"{name} {state}"


class Revision:
    """A project at a commit, by any name known to git or DVC: branch, tag, hash, origin/main, an experiment."""

    def __init__(self, repo: Repo, name: str, folder: Path) -> None:
        """Resolves the name.

        Args:
            repo: that the project is in.
            name: of the commit.
            folder: the project's; the repository's root, or below it.

        Raises:
            BadInput: the project is no git repository, or has no such revision.
        """
        self.name = name
        if isinstance(repo.scm, NoSCM):
            raise BadInput(
                f"{repo.root_dir}: no git repository, so no revision {name!r} to compare with; git init and commit"
            )
        try:
            self.commit = str(resolve_rev(repo.scm, name))
        except (SCMError, DvcException):
            raise BadInput(
                f"revision {name!r}: not found here; git fetch it (in a shallow clone: git fetch --unshallow), "
                "or name the branch that is merged into"
            ) from None
        self._files: Any = repo.scm.get_fs(self.commit)
        self._root = PurePosixPath("/", PurePosixPath(folder.resolve()).relative_to(Path(repo.scm.root_dir).resolve()))

    def read(self, path: str) -> str | None:
        """Returns a file's text by its path in the project; None where the revision has no such file."""
        full = str(self._root / path)
        if not self._files.isfile(full):
            return None
        with self._files.open(full, mode="rb") as file:
            return str(file.read().decode("utf-8"))

    def paths(self, folder: str, suffix: str) -> list[str]:
        """Returns the paths of the files below a folder whose names end with `suffix`, sorted."""
        full = str(self._root / folder)
        if not self._files.isdir(full):
            return []
        paths = [str(PurePosixPath(path).relative_to(self._root)) for path in self._files.find(full)]
        return sorted(path for path in paths if path.endswith(suffix))
