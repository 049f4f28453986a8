"""Versions of a model on a service's disk: a folder each, and a link to the one in use.

store/versions/COMMIT/   verified version, named after the commit that it was pulled from
store/current            link to one version; replaced by a rename, so a reader sees the old or the new one
store/arriving-*/        pull in progress; moved to versions/ once it is verified
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

MAX_VERSIONS = 2  # on disk: the one in use, and the one before it to go back to


class Store:
    """Folder of versions. Pulls run one at a time; readers never wait."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.versions = self.folder / "versions"
        self.versions.mkdir(parents=True, exist_ok=True)

    def current(self) -> Path | None:
        """Returns the folder of the version in use, None before the first pull."""
        link = self.folder / "current"
        return link.resolve() if link.is_symlink() else None

    @contextmanager
    def arriving(self) -> Iterator[Path]:
        """Yields an empty folder to pull into, on the store's own disk; removes it afterwards, also after an error.

        Waits for a running pull to end, and removes the folders of killed ones.
        """
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in self.folder.glob("arriving-*"):
                shutil.rmtree(left)
            with tempfile.TemporaryDirectory(prefix="arriving-", dir=self.folder, ignore_cleanup_errors=True) as folder:
                yield Path(folder)

    def adopt(self, arrived: Path, version: str) -> Path:
        """Verifies a folder, stores it as a version and puts it into use; leaves the store unchanged if it is refused.

        Raises:
            attune.errors.BadInput: a file is missing or differs, or a graph does not reproduce the golden vectors.
        """
        verify(arrived)
        place = self.versions / version
        if place.exists() and not _is_sound(place):
            place.rename(arrived.with_name("damaged"))  # removed together with the temporary folder
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
        for old in by_use[:-MAX_VERSIONS]:
            shutil.rmtree(old)


def _is_sound(folder: Path) -> bool:
    try:
        verify(folder)
    except (BadInput, OSError):
        return False
    return True
