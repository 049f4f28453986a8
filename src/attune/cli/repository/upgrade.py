"""Brings a repository to the installed attune, and says which stages run again and why (`attune upgrade`)."""

import re
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from attune.cli.repository.interface import Upgraded
from attune.cli.repository.keys import FILES, migrated
from attune.cli.repository.pipeline import command_metrics, judgments, outputs, pipeline_text
from attune.cli.repository.product import product_text
from attune.cli.repository.product_stages import LIBRARIES
from attune.cli.repository.retired import package_entries, with_retired
from attune.cli.repository.versions import (
    RETIRED,
    installed_from,
    installed_version,
    is_older,
    recorded,
    text_hash,
    versions_text,
)
from attune.cli.review.history import dvc_project, lock_facts
from attune.errors import BadInput
from attune.files import replacing
from attune.stage import ADVANCED_FILE

PIPELINE, IGNORED, CONSTRAINTS, MAKEFILE = "dvc.yaml", ".gitignore", "constraints.txt", "Makefile"


def upgrade(folder: Path, is_dry: bool) -> Upgraded:
    """Writes what a newer attune needs, and says what runs again.

    dvc.yaml, libraries.yaml and constraints.txt become the package's, the parameter files get its keys and the figures
    that it has retired since, .gitignore the outputs that it lacks, metrics/ and data/own the files that commands
    write, and Makefile the commit that was installed. All other files belong to the user and stay.

    Args:
        folder: the repository's root.
        is_dry: leaves all files as they are.

    Raises:
        BadInput: this is no repository of `attune new`, or one of a later attune than is installed, or dvc.yaml was
            edited by hand; nothing is written then.
    """
    before, now = recorded(folder), installed_version()
    if is_older(now, at := str(before.get("version"))):
        raise BadInput(
            f"{LIBRARIES}: is of attune {at}, and {now} is installed; install attune {at}, or go back to the commit "
            "before that upgrade"
        )
    old = {name: (folder / name).read_text(encoding="utf-8") for name in (*FILES, PIPELINE, LIBRARIES, IGNORED)}
    if text_hash(old[PIPELINE]) != before.get("dvc_yaml"):
        raise BadInput(
            f"{folder / PIPELINE}: edited by hand, and `attune upgrade` would undo that; put stages of your own into "
            f"a dvc.yaml of another folder, and: git checkout HEAD -- {PIPELINE}"
        )
    package = {name: product_text(name) for name in FILES}
    own, said = migrated({name: old[name] for name in FILES}, package)
    own, added = with_retired(own, package[ADVANCED_FILE.name], _known_retired(package, before))
    said += added
    for name in (CONSTRAINTS, MAKEFILE):
        old[name] = (folder / name).read_text(encoding="utf-8") if (folder / name).exists() else ""
    params = _sections(own)
    pipeline = pipeline_text(params)
    new = {
        **own,
        PIPELINE: pipeline,
        LIBRARIES: versions_text(pipeline),
        CONSTRAINTS: product_text(CONSTRAINTS),
        IGNORED: _with_outputs(old[IGNORED], pipeline, judgments(params)),
        MAKEFILE: _with_source(old[MAKEFILE], installed_from()),
    }
    written = dict.fromkeys(command_metrics(pipeline), "{}\n") | judgments(params)
    new |= {name: text for name, text in written.items() if not (folder / name).exists()}
    changed = [name for name, text in new.items() if old.get(name) != text]
    _write(folder, {name: new[name] for name in changed})
    try:
        stale, n_stages = _what_runs(folder)
    finally:
        if is_dry:
            _write(folder, {name: old[name] for name in changed if name in old})
            for name in set(changed) - set(old):
                (folder / name).unlink()
    return Upgraded(at, now, is_dry, sorted(changed), said if changed else [], stale, n_stages)


def _known_retired(package: Mapping[str, str], before: Mapping[str, Any]) -> list[str]:
    """Returns the package's retired figures that the version upgraded from had; none where it recorded none."""
    hashes = set(before.get(RETIRED, []))
    return [entry for entry in package_entries(package[ADVANCED_FILE.name]) if text_hash(entry) in hashes]


def _sections(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Returns the sections of both parameter files, merged."""
    merged: dict[str, dict[str, Any]] = {}
    for text in texts.values():
        for section, values in YAML(typ="safe").load(text).items():
            merged.setdefault(section, {}).update(values)
    return merged


def _with_outputs(ignored: str, pipeline: str, kept: Iterable[str]) -> str:
    """Returns .gitignore with a line for each output, and for each file to keep, that it lacks."""
    lines = [*(f"/{path}" for path in outputs(pipeline)), *(f"!/{path}" for path in kept)]
    known = set(ignored.splitlines())
    return ignored + "".join(f"{line}\n" for line in lines if line not in known)


def _with_source(makefile: str, source: str) -> str:
    """Returns the Makefile with the place where this attune was installed from, where git knows it."""
    return (
        re.sub(r"^(ATTUNE \?= ).*attune\[EXTRA\].*$", rf"\g<1>{source}", makefile, flags=re.M) if source else makefile
    )


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes all files under temporary names and renames them together."""
    with ExitStack() as stack:
        for name, text in texts.items():
            stack.enter_context(replacing(folder / name)).write_text(text, encoding="utf-8")


def _what_runs(folder: Path) -> tuple[list[str], int]:
    """Returns the stages that will run again, each with the reason, and the number of all; 0 where none has run yet."""
    if not (folder / "dvc.lock").exists():
        return [], 0
    with dvc_project(folder) as repo:
        facts = lock_facts(repo, folder)
    return list(map(str, facts["stale"])), int(facts["n_stages"])
