"""What DVC finds between a revision and the project's files; a file that one side lacks hides none of the others."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo

from attune.cli.review.revision import Revision
from attune.errors import BadInput

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
