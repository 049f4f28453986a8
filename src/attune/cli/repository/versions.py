"""libraries.yaml of a user's repository: versions of libraries, and a hash of each stage's code in section attune."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.cli.repository.closure import N_DIGITS, code_hash, stage_names
from attune.cli.repository.pipeline import LIBRARIES, SECTION
from attune.cli.repository.product import GENERAL, product_file, product_text
from attune.errors import BadInput, one_line

HEAD = """\
# Written by `attune upgrade`. Section attune: its version, a hash of dvc.yaml as it was written, and a hash of each
# stage's code without comments. A stage runs again where that hash, or the version of a library in its list, changes.
"""


def hash_of(name: str) -> str:
    """Returns the hash of a stage's code, or of the general text that stage `general` brings."""
    if name != "general":
        return code_hash(name)
    digest = hashlib.sha256()
    for file in sorted(product_file(GENERAL).glob("*.jsonl")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:N_DIGITS]


def key_of(name: str) -> str:
    """Returns the key of a stage's hash: its name, after its room where there are two of one name."""
    return name.replace(".", "_")


def installed_version() -> str:
    """Returns the version of the installed package; "unknown" where attune runs from files that nobody installed."""
    try:
        return version("attune")
    except PackageNotFoundError:
        return "unknown"


def installed_from() -> str:
    """Returns where pip finds this attune, as a requirement with EXTRA for the extras; "" where that is no git URL."""
    try:
        told = json.loads(distribution("attune").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        told = {}
    if "vcs_info" not in told:
        return ""  # a wheel on this machine, or files; the index may hold another's package of this name
    url = urlsplit(told["url"])
    user, at, host = url.netloc.rpartition("@")
    place = url._replace(netloc=f"{user.partition(':')[0]}{at}{host}" if url.scheme == "ssh" else host).geturl()
    return f"attune[EXTRA] @ {told['vcs_info']['vcs']}+{place}@{told['vcs_info']['commit_id']}"


def versions_text(pipeline: str) -> str:
    """Returns libraries.yaml for this package.

    Args:
        pipeline: text of dvc.yaml, whose hash tells later whether it was edited by hand.
    """
    hashes = {key_of(name): f"'{hash_of(name)}'" for name in ["general", *stage_names()]}
    own = {"version": f"'{installed_version()}'", "dvc_yaml": f"'{text_hash(pipeline)}'", **hashes}
    lines = [f"{SECTION}:", *(f"  {key}: {value}" for key, value in own.items())]
    body = [line for line in product_text(LIBRARIES).splitlines() if not line.startswith("#")]
    return "\n".join([HEAD.rstrip("\n"), *lines, *body]) + "\n"


def text_hash(text: str) -> str:
    """Returns a hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:N_DIGITS]


def recorded(folder: Path) -> dict[str, Any]:
    """Returns section attune of a repository's libraries.yaml.

    Raises:
        BadInput: there is none, so that this is no repository that `attune new` made.
    """
    file = folder / LIBRARIES
    try:
        content = YAML(typ="safe").load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{file}: not found; run in a repository that `attune new` made") from None
    except (YAMLError, ValueError) as error:
        raise BadInput(f"{file}: not valid YAML in UTF-8: {one_line(error)}; run: attune upgrade") from None
    section = content.get(SECTION) if isinstance(content, dict) else None
    if not isinstance(section, dict):
        raise BadInput(f"{file}: section {SECTION} is missing; run in a repository that `attune new` made")
    return section


def require_recorded(name: str, folder: Path) -> None:
    """Checks that a stage's code is what the repository tracks, as DVC would record another's work under its hash.

    Raises:
        BadInput: another version of the code is installed.
    """
    section = recorded(folder)
    key = key_of(name)
    if section.get(key) != hash_of(name):
        raise BadInput(
            f"{LIBRARIES}: {SECTION}.{key} is {section.get(key)}, but the installed attune {installed_version()} has "
            f"other code for this stage; run: attune upgrade, or install attune {section.get('version')}"
        )
