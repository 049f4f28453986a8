"""Does dvc.lock belong to the code, and do the figures in git belong to dvc.lock? Asked of DVC, without any data.

What a clone has not pulled is taken as dvc.lock has it, as `dvc repro --allow-missing` does. Files that git keeps
(`cache: false`) are always there, so their hashes are compared: figures that nobody's run wrote differ.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

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
