"""Brings one version of the model into the service's store: `python pull.py GIT_URL REVISION STORE`.

REVISION is anything git knows: a version's tag (embedder-onnx@v0.2.0), a stage's, a branch, a commit. The model arrives
in a folder of its own and is used only if it is what the commit's dvc.lock says, byte for byte, and computes what its
golden vectors say. Otherwise: one line on stderr, exit code 1, and the service keeps the version that it has.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException
from store import Store

from attune.errors import BadInput


def pull(url: str, revision: str, store: Store, path: str = "models/onnx", remote: str | None = None) -> Path:
    """Pulls, checks and adopts; returns the version's folder, named after its commit.

    Args:
        url: the git repository: an address or a folder.
        revision: a tag, branch or commit of it.
        store: where the service's versions are.
        path: the model's folder in the repository, as in `artifacts:` of its dvc.yaml.
        remote: a DVC remote of the repository; None takes its default.

    Raises:
        BadInput: the repository, revision, path or an object cannot be had, or what came is not what it should be.
    """
    with store.arriving() as folder:
        arrived = folder / "model"
        try:
            source = DVCFileSystem(url, rev=revision, remote=remote)
            commit, recorded = source.repo.get_rev(), source.info(path)["dvc_info"]["md5"]
            source.get(path, str(arrived), recursive=True)
        except (DvcException, OSError, KeyError, ValueError) as error:
            raise BadInput(f"{url}, {path} of {revision}: {error}; is it pushed, and readable from here?") from error
        got = directory_md5(arrived)
        if got != recorded:
            raise BadInput(f"{path} of {revision}: md5 is {got}, expected {recorded} as in dvc.lock; push it again")
        return store.adopt(arrived, commit)


def directory_md5(folder: Path) -> str:
    """DVC's hash of a folder: the md5 of the list of its files with theirs, which dvc.lock keeps.

    DVC does not compare it when it downloads from another repository, only when it pulls in one's own.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5(folder / name), "relpath": name} for name in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main() -> None:
    """Pulls as the arguments say."""
    parser = argparse.ArgumentParser(description="Brings one version of the model into the service's store.")
    parser.add_argument("url", help="the git repository, an address or a folder")
    parser.add_argument("revision", help="a tag, branch or commit, such as embedder-onnx@v0.2.0")
    parser.add_argument("store", help="the folder that the service reads")
    parser.add_argument("--path", default="models/onnx", help="the model in the repository; default: %(default)s")
    parser.add_argument("--remote", help="a DVC remote of the repository; default: its default")
    given = parser.parse_args()
    try:
        place = pull(given.url, given.revision, Store(given.store), given.path, given.remote)
    except (BadInput, OSError) as error:
        sys.exit(f"pull: refused: {' '.join(str(error).split())}")
    print(f"pull: {given.revision} is in use, from commit {place.name}")


if __name__ == "__main__":
    main()
