"""Conflict markers of a merge in dvc.lock, named as such: DVC's own error about them is one about YAML."""

from pathlib import Path

from attune.errors import BadInput

MARKERS = ("<<<<<<< ", ">>>>>>> ")  # around the lines that two branches changed


def refuse_conflicts(folder: Path) -> None:
    """Refuses a project whose dvc.lock holds a merge's conflict markers.

    Raises:
        BadInput: it holds one; the line says how to go on.
    """
    lock = folder / "dvc.lock"
    if not lock.is_file():
        return
    for number, line in enumerate(lock.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if line.startswith(MARKERS):
            raise BadInput(
                f"{lock}:{number}: got a merge's conflict markers, expected the lock of one run; "
                "git checkout --ours dvc.lock metrics, then dvc repro (docs/team.md)"
            )
