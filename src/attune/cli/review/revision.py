"""The project's files as a git revision has them, read without a checkout and without the git program."""

from pathlib import PurePosixPath
from typing import Any

from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.scm import NoSCM, SCMError, resolve_rev

from attune.errors import BadInput


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
