"""Does dvc.lock belong to the code, and do the figures in git belong to dvc.lock? Asked of DVC, without any data.

What a clone has not pulled is taken as dvc.lock has it, as `dvc repro --allow-missing` does. Files that git keeps
(`cache: false`) are always there, so their hashes are compared: figures that nobody's run wrote differ.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM, SCMError, resolve_rev

from attune.cli.review.findings import REPRO, Verdicts
from attune.errors import BadInput

if TYPE_CHECKING:
    from dvc.stage import Stage

STATES = {  # of a file in git, as DVC names them
    "new": "no hash in dvc.lock",
    "deleted": "missing",
    "modified": "not as dvc.lock has it (edited by hand, or dvc.lock is not committed)",
}
SHOWN = 5  # stages or files named in one line; a change to a file that all read would name two dozen


@contextmanager
def opened(folder: Path) -> Iterator[Repo]:
    """The DVC project in a folder.

    Raises:
        BadInput: there is none, or DVC cannot read its dvc.yaml, dvc.lock or params.yaml.
    """
    if not (folder / "dvc.yaml").is_file():
        raise BadInput(f"{folder / 'dvc.yaml'}: not found; run from the project's root, or name it: attune gate FOLDER")
    try:
        with Repo(str(folder)) as repo, repo.lock:  # as when DVC itself reads the stages
            yield repo
    except DvcException as error:
        raise BadInput(f"{folder}: DVC says: {error}") from None


def lock_rule(repo: Repo) -> Verdicts:
    """No stage whose command, parameters, code or data are others than those that dvc.lock was made with."""
    graph = repo.index.graph
    stages = sorted(graph, key=lambda stage: stage.addressing)
    stale = [
        f"{stage.addressing.rpartition(':')[2]} ({why})"
        for stage in stages
        if (why := _why_stale(stage, list(graph.successors(stage))))
    ]
    if not stale:
        yield True, f"dvc.lock is that of the code: {len(stages)} stages up to date"
        return
    yield False, f"dvc.lock is stale: {_listed(stale)} would run again; {REPRO}"


def _why_stale(stage: "Stage", upstream: "list[Stage]") -> str:
    if not stage.is_callback and all(not out.hash_info for out in stage.outs):
        return "not in dvc.lock"
    if stage.changed_stage():
        return "its command changed"
    if not stage.changed_deps(allow_missing=True, upstream=upstream):
        return ""
    changed = [words for dep in stage.deps for words in _flat(dep.status()) if not words.endswith("deleted")]
    return changed[0] if changed else "what it reads is another stage's older output"


def _flat(status: Mapping[str, Any]) -> Iterator[str]:
    for name, state in status.items():
        if isinstance(state, Mapping):
            yield from (f"{name}: {words}" for words in _flat(state))
        else:
            yield f"{name} {state}"


def files_rule(repo: Repo) -> Verdicts:
    """Every file that a stage leaves in git is, byte by byte, the one that dvc.lock has the hash of."""
    outs = [out for stage in repo.index.graph for out in stage.outs if not out.use_cache]
    states = {str(out): next(iter(out.status().values()), "") if out.hash_info else "new" for out in outs}
    for state, words in STATES.items():
        names = sorted(name for name, found in states.items() if found == state)
        if names:
            yield False, f"{_listed(names)}: {words}; {REPRO}"
    yield bool(outs), f"{len(outs)} files in git were compared with their hashes in dvc.lock"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


RULES = {"dvc.lock": lock_rule, "files": files_rule}


class Revision:
    """A commit, by any name that git or DVC has for it: branch, tag, hash, origin/main, an experiment."""

    def __init__(self, repo: Repo, name: str) -> None:
        """Finds the commit.

        Raises:
            BadInput: this is no git repository, or nothing in it has that name.
        """
        self.name = name
        if isinstance(repo.scm, NoSCM):
            raise BadInput(f"{repo.root_dir}: no git repository, so no revision {name!r} to compare with")
        try:
            commit = resolve_rev(repo.scm, name)
        except (SCMError, DvcException):
            raise BadInput(
                f"revision {name!r}: not found here; git fetch it (in a shallow clone: git fetch --unshallow), "
                f"or for the baseline: make baseline"
            ) from None
        self._files: Any = repo.scm.get_fs(commit)
        self._root = PurePosixPath("/", PurePosixPath(repo.root_dir).relative_to(repo.scm.root_dir))

    def read(self, path: str) -> str | None:
        """A file's text by its path in the project; None where the revision has no such file."""
        full = str(self._root / path)
        if not self._files.isfile(full):
            return None
        with self._files.open(full, mode="rb") as file:
            return str(file.read().decode("utf-8"))

    def paths(self, folder: str, suffix: str) -> list[str]:
        """The files below a folder of the project whose names end so, sorted, by their paths in the project."""
        full = str(self._root / folder)
        if not self._files.isdir(full):
            return []
        found = [str(PurePosixPath(path).relative_to(self._root)) for path in self._files.find(full)]
        return sorted(path for path in found if path.endswith(suffix))


Changes = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Difference:
    """What changed, by file and key, and a line for each file that could not be read on one of the two sides."""

    changes: Changes
    unread: list[str]


def diff(folder: Path, kind: str, revision: str, target: str = "") -> Difference:
    """What `dvc metrics diff` or `dvc params diff` finds between a revision and the project's files.

    Args:
        folder: the project's root.
        kind: metrics or params.
        revision: what to compare with.
        target: the one file to look at; all without it.

    Raises:
        BadInput: the revision is not there, or DVC cannot read the project there or here.
    """
    targets = {"targets": [str(folder.resolve() / target)]} if target else {}
    with Repo(str(folder)) as repo:
        Revision(repo, revision)  # says what is wrong with it
        try:
            found = getattr(repo, kind).diff(revision, **targets)
        except DvcException as error:
            raise BadInput(f"dvc {kind} diff {revision}: {error}") from None
    return Difference(found.get("diff", {}), list(_unread(found.get("errors", {}), revision)))


def _unread(errors: Mapping[str, Any], revision: str) -> Iterator[str]:
    for side, files in errors.items():
        place = f"at {revision}" if side == revision else "here"
        if isinstance(files, Exception):
            words = " ".join(str(files).split())
            raise BadInput(f"the project cannot be read {place}: {words}; run `dvc status` there")
        for path, error in sorted(files.items()):
            is_gone = isinstance(error, FileNotFoundError)
            why = "is missing" if is_gone else f"cannot be read ({' '.join(str(error).split())})"
            yield f"{path} {why} {place}"
