"""The versions of a model on a service's disk: a folder each, and a link to the one in use.

store/versions/COMMIT/   verified; named after the commit that it was pulled from
store/current            a link to one of them; replaced by a rename, so a reader sees the old or the new one
store/arriving-*/        what is being pulled; never under versions/ before it is verified
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attune.errors import BadInput
from attune.runtime import verify

KEPT = 2  # versions on disk: the one in use, and the one before it to go back to


class Store:
    """A folder of versions. Pulls exclude each other; readers are never kept waiting."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.versions = self.folder / "versions"
        self.versions.mkdir(parents=True, exist_ok=True)

    def current(self) -> Path | None:
        """The folder of the version in use, or None before the first pull."""
        link = self.folder / "current"
        return link.resolve() if link.is_symlink() else None

    @contextmanager
    def arriving(self) -> Iterator[Path]:
        """A fresh folder to pull into, on the store's own disk; gone afterwards, whatever happened.

        Waits until no other pull is under way, and clears what a killed one left.
        """
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob("arriving-*"):
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix="arriving-", dir=self.folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder)

    def adopt(self, arrived: Path, version: str) -> Path:
        """Takes a folder in as a version and uses it, if it verifies; otherwise the store is as before.

        Raises:
            attune.errors.BadInput: a file is missing or differs, or a graph does not compute the golden vectors.
        """
        verify(arrived)
        place = self.versions / version
        if place.exists() and not _sound(place):
            place.rename(arrived.with_name("damaged"))  # gone with the folder that it arrived in
        if not place.exists():
            arrived.rename(place)
        self._use(place)
        return place

    def _use(self, place: Path) -> None:
        link = self.folder / "next"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("versions") / place.name)
        os.utime(place)
        link.replace(self.folder / "current")
        by_use = sorted(self.versions.iterdir(), key=lambda version: version.stat().st_mtime_ns)
        for old in by_use[:-KEPT]:
            shutil.rmtree(old)


def _sound(folder: Path) -> bool:
    try:
        verify(folder)
    except (BadInput, OSError):
        return False
    return True
