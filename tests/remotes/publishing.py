"""A team's repository: two versions of a model behind a remote, registered and pushed to a bare git repository."""

import json
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from remotes.programs import ROOT, environment, run
from remotes.serving import Remote

MODEL = "models/onnx"
ARTIFACT = "embedder-onnx"
OLD, NEW = "v0.1.0", "v0.2.0"


@dataclass(frozen=True)
class Published:
    """The published repository, and the place of each version's objects in the remote."""

    url: str
    env: dict[str, str]
    remote: Remote
    models: dict[str, Path]  # version -> the folder that was exported
    listings: dict[str, str]  # version -> md5 of the folder, as dvc.lock has it
    cache: Path

    def object(self, version: str, name: str = "") -> str:
        """Returns the path in the remote of a version's file, or of its list of files if no name is given."""
        listing = self.listings[version]
        if not name:
            return _place(listing)
        files = json.loads((self.cache / _place(listing)).read_text())
        return _place(next(file["md5"] for file in files if file["relpath"] == name))


def _place(md5: str) -> str:
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def publish(place: Path, remote: Remote, models: dict[str, Path]) -> Published:
    """Commits, pushes and registers each version; the first one is the stage prod.

    The artifact is declared as in this project's dvc.yaml; the stage that makes it is a copy in place of a training.
    """
    env = environment(place / "publisher", remote.keys) | remote.environment
    bare, work = place / "models.git", place / "work"
    run("git", "init", "-q", "--bare", str(bare), env=env)
    run("git", "clone", "-q", str(bare), str(work), env=env)
    _begin(work, remote, env)
    listings = {}
    for version, model in models.items():
        (work / "params.yaml").write_text(f"source: {model}\n")
        run("dvc", "repro", "-q", cwd=work, env=env)
        listings[version] = _lock(work)["stages"]["export"]["outs"][0]["md5"]
        run("git", "add", "-A", cwd=work, env=env)
        run("git", "commit", "-qm", f"Model {version}", cwd=work, env=env)
        run("dvc", "push", "-q", cwd=work, env=env)
        run("gto", "register", ARTIFACT, "--version", version, cwd=work, env=env)
    run("gto", "assign", ARTIFACT, "--version", min(models), "--stage", "prod", cwd=work, env=env)
    run("git", "push", "-q", "origin", "main", "--tags", cwd=work, env=env)
    return Published(str(bare), env, remote, models, listings, work / ".dvc" / "cache")


def _begin(work: Path, remote: Remote, env: dict[str, str]) -> None:
    run("dvc", "init", "-q", cwd=work, env=env)
    settings = "".join(f"    {name} = {value}\n" for name, value in remote.settings.items())
    (work / ".dvc" / "config").write_text(
        f"[core]\n    remote = storage\n['remote \"storage\"']\n{settings}    verify = true\n"
    )
    if remote.writers:
        settings = "".join(f"    {name} = {value}\n" for name, value in remote.writers.items())
        (work / ".dvc" / "config.local").write_text(f"['remote \"storage\"']\n{settings}")
    artifacts = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["artifacts"]
    export = {"cmd": f"mkdir -p models && cp -r ${{source}} {MODEL}", "outs": [MODEL]}
    (work / ".gitignore").write_text(f"/{MODEL}\n")
    with (work / "dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"export": export}, "artifacts": artifacts}, file)


def _lock(work: Path) -> dict:
    return YAML(typ="safe").load((work / "dvc.lock").read_text())
