"""Brings one version of the model into the service's store: `python pull.py GIT_URL REVISION STORE`.

REVISION is any name known to git: the tag of a version (embedder-onnx@v0.2.0) or of a stage, a branch, a commit. The
model arrives in a temporary folder and is used only if its bytes have the hash in the commit's dvc.lock and its graphs
reproduce the golden vectors. Otherwise: one line on stderr, exit code 1, and the service keeps its version.
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
    """Pulls a version, verifies it and puts it into use; returns its folder, named after its commit.

    Args:
        url: git repository, a URL or a folder.
        revision: tag, branch or commit of the repository.
        store: the service's versions.
        path: folder of the model in the repository, as in `artifacts:` of its dvc.yaml.
        remote: DVC remote of the repository; None takes its default remote.

    Raises:
        BadInput: repository, revision, path or an object is unavailable, or the files are damaged.
    """
    with store.arriving() as folder:
        arrived = folder / "model"
        try:
            source = DVCFileSystem(url, rev=revision, remote=remote)
            commit, recorded = source.repo.get_rev(), source.info(path)["dvc_info"]["md5"]
            source.get(path, str(arrived), recursive=True)
        except (DvcException, OSError, KeyError, ValueError) as error:
            raise BadInput(f"{url}, {path} of {revision}: {error}; push it, or check your access") from error
        got = directory_md5(arrived)
        if got != recorded:
            raise BadInput(f"{path} of {revision}: md5 is {got}, expected {recorded} as in dvc.lock; push it again")
        return store.adopt(arrived, commit)


def directory_md5(folder: Path) -> str:
    """Computes DVC's hash of a folder as in dvc.lock: the md5 of the JSON list of its files and their md5.

    DVC itself compares it on a pull within the repository, but not on a download from another one.
    """
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    listing = [{"md5": _md5(folder / name), "relpath": name} for name in files]
    return hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description="Brings one version of the model into the service's store.")
    parser.add_argument("url", help="git repository, a URL or a folder")
    parser.add_argument("revision", help="tag, branch or commit, such as embedder-onnx@v0.2.0")
    parser.add_argument("store", help="folder that the service reads")
    parser.add_argument("--path", default="models/onnx", help="the model in the repository; default: %(default)s")
    parser.add_argument("--remote", help="DVC remote of the repository; default: its default remote")
    arguments = parser.parse_args()
    try:
        place = pull(arguments.url, arguments.revision, Store(arguments.store), arguments.path, arguments.remote)
    except (BadInput, OSError) as error:
        sys.exit(f"pull: refused: {' '.join(str(error).split())}")
    print(f"pull: {arguments.revision} is in use, from commit {place.name}")


if __name__ == "__main__":
    main()
