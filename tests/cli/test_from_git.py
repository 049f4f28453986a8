"""`pip install "attune[pipeline] @ git+URL@TAG"`: what such an attune makes, a colleague's clone, a new tag.

The URL is that of a server on loopback, as not every pip takes one of a folder.
"""

import json
import os
import shutil
import site
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from branches import git
from loopback import serving
from own_repository import copy_sources, environment, install, run, write_questions
from test_new import COLUMNS

OLD, SAME, NEW = "v9.0.1", "v9.0.1-later", "v9.0.2"  # versions that no environment of the tests has


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: Any) -> None: ...


class Hosted(NamedTuple):
    """A git repository with attune's sources.

    Attributes:
        url: as pip reads it, without a tag.
        commits: by tag.
    """

    url: str
    commits: dict[str, str]

    def requirement(self, extras: str, tag: str) -> str:
        """Returns the requirement that the README tells users."""
        return f"attune[{extras}] @ {self.url}@{tag}"


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """Three tags and, behind them, a commit that cannot be built: what is not asked for is not installed."""
    folder = copy_sources(tmp_path_factory.mktemp("hosted") / "attune")
    git(folder, "init", "-q")
    file, version, commits = folder / "pyproject.toml", "0.1.0", {}
    for tag in (OLD, SAME, NEW):
        number = tag[1:].partition("-")[0]
        file.write_text(file.read_text().replace(f'version = "{version}"', f'version = "{number}"') + "\n")
        version = number
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", tag)
        git(folder, "tag", tag)
        commits[tag] = git(folder, "rev-parse", "HEAD")
    file.write_text("[project]\n")
    git(folder, "commit", "-q", "-a", "-m", "broken")
    git(folder, "update-server-info")  # what git reads from a server of plain files
    with (
        ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder.parent))) as server,
        serving(server),
        pytest.MonkeyPatch.context() as variables,
    ):
        variables.setenv("no_proxy", "127.0.0.1")
        yield Hosted(f"git+http://127.0.0.1:{server.server_port}/{folder.name}/.git", commits)


@pytest.fixture(scope="module")
def made(hosted: Hosted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An interpreter with attune at the old tag, and the repository that it has made of a csv (read-only)."""
    folder = tmp_path_factory.mktemp("made")
    python = environment(folder / "environment")
    install(python, hosted.requirement("pipeline", OLD))
    write_questions(folder / "faq.csv")
    run(folder, str(python), "-m", "attune", "new", "shop", "--data", "faq.csv", *COLUMNS)
    return python, folder / "shop"


def source(folder: Path) -> str:
    """Returns where the Makefile says that attune comes from."""
    return next(line for line in (folder / "Makefile").read_text().splitlines() if line.startswith("ATTUNE ?="))


def test_it_names_the_tag_s_commit(made: tuple[Path, Path], hosted: Hosted) -> None:
    """The Makefile has the URL and the commit, which never moves, and the version of the tag is recorded."""
    _, shop = made
    assert source(shop) == f"ATTUNE ?= attune[EXTRA] @ {hosted.url}@{hosted.commits[OLD]}"
    assert f"version: '{OLD[1:]}'" in (shop / "libraries.yaml").read_text()


def test_its_stages_run(made: tuple[Path, Path], tmp_path: Path) -> None:
    """The package from git carries the general text and all else that stages read beside the code."""
    python, shop = made
    copy = Path(shutil.copytree(shop, tmp_path / "shop", symlinks=True))
    run(copy, str(python), "-m", "dvc", "repro", "-q", "collect", "general")
    assert (copy / "data" / "raw" / "corpus.jsonl").is_file() and any((copy / "data" / "general").iterdir())


def test_a_colleague_s_make_installs_the_same_attune(made: tuple[Path, Path], hosted: Hosted, tmp_path: Path) -> None:
    """A clone on a machine without attune: `make check` makes .venv of that commit, with its extras, and checks."""
    _, shop = made
    git(tmp_path, "clone", "-q", str(shop), "clone")
    clone = tmp_path / "clone"
    shutil.copy(shop / "data" / "own" / "faq.csv", clone / "data" / "own")
    done = run(clone, "make", "check", f"PYTHON={offline_python(tmp_path)}", variables=without_attune(tmp_path))
    assert "installing into .venv" in done.stderr and "1 passed" in done.stdout
    assert installed_commit(clone) == hosted.commits[OLD]
    assert git(clone, "status", "--porcelain") == ""


def test_make_follows_an_upgrade(made: tuple[Path, Path], hosted: Hosted, tmp_path: Path) -> None:
    """A pulled Makefile with another commit of the same version is installed in place of the one in .venv."""
    _, shop = made
    clone = Path(shutil.copytree(shop, tmp_path / "clone", symlinks=True))
    make = ("make", ".venv/ready", f"PYTHON={offline_python(tmp_path)}")
    variables = without_attune(tmp_path) | {"PIP_NO_DEPS": "1"}
    run(clone, *make, variables=variables)
    assert "is up to date" in run(clone, *make, variables=variables).stdout
    makefile = clone / "Makefile"
    makefile.write_text(makefile.read_text().replace(hosted.commits[OLD], hosted.commits[SAME]))
    run(clone, *make, variables=variables)
    assert installed_commit(clone) == hosted.commits[SAME]


def test_a_newer_tag_is_an_installation_and_an_upgrade(made: tuple[Path, Path], hosted: Hosted, tmp_path: Path) -> None:
    """`pip install` of the new tag and `attune upgrade`: colleagues then get its commit."""
    _, shop = made
    copy = Path(shutil.copytree(shop, tmp_path / "shop", symlinks=True))
    newer = environment(tmp_path / "environment")
    install(newer, hosted.requirement("pipeline", NEW))
    said = run(copy, str(newer), "-m", "attune", "upgrade").stdout
    assert f"attune {OLD[1:]} -> {NEW[1:]}: wrote Makefile, libraries.yaml" in said
    assert source(copy) == source(shop).replace(hosted.commits[OLD], hosted.commits[NEW])


def installed_commit(folder: Path) -> str:
    """Returns the commit of the attune in .venv, as pip has recorded it."""
    code = "from importlib.metadata import distribution as d; print(d('attune').read_text('direct_url.json'))"
    told = json.loads(run(folder, str(folder / ".venv/bin/python"), "-c", code).stdout)
    return str(told["vcs_info"]["commit_id"])


def offline_python(folder: Path) -> Path:
    """Returns a program `python3` whose environments see this one's libraries, pip among them, and need no network."""
    libraries = "\\n".join(site.getsitepackages())
    program = folder / "python3"
    program.write_text(
        f'#!/bin/sh\n"{sys.executable}" "$@" --without-pip && '
        f"for packages in .venv/lib/python*/site-packages; do printf '{libraries}\\n' > $packages/libraries.pth; done\n"
    )
    program.chmod(0o755)
    return program


def without_attune(folder: Path) -> dict[str, str]:
    """Returns variables with which `make` finds no attune, and pip asks no index and builds with what is here."""
    (folder / "path").mkdir()
    (folder / "path" / "python").symlink_to("/bin/false")
    path = os.pathsep.join([str(folder / "path"), os.environ["PATH"]])
    return {"PATH": path, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
