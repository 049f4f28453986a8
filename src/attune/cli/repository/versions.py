"""libraries.yaml of a user's repository: versions of libraries; in section attune what runs a stage again."""

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.cli.repository.closure import N_DIGITS, code_hash, stage_names
from attune.cli.repository.pipeline import SECTION, wrapped
from attune.cli.repository.product import GENERAL, product_file, product_text
from attune.cli.repository.product_stages import LIBRARIES, fixed_options, libraries_of
from attune.cli.repository.retired import package_entries
from attune.errors import BadInput, one_line
from attune.stage import ADVANCED_FILE

HEAD = """\
# Written by `attune upgrade`: versions of libraries, each once (*numpy below is the version of numpy here). Section
# attune: its version, a hash of dvc.yaml as it was written, of each of its gate.retired, and of each stage a hash of
# its code without comments beside the versions of its libraries. A stage runs again where code or a version changes.
"""
RETIRED = "retired"  # key of the hashes of the package's gate.retired, of which an upgrade adds the new ones
CODE = "code"  # key of a stage's hash in its entry


def hash_of(name: str) -> str:
    """Returns the hash of a stage's code and of what the package adds to its command; of general text for `general`."""
    if name != "general":
        return text_hash("\n".join([code_hash(name), *fixed_options(name.rpartition(".")[2])]))
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


def is_older(version: str, other: str) -> bool:
    """Says if a version is an earlier release than another; False where one is unknown."""
    one, two = ([int(number) for number in re.findall(r"\d+", each)[:3]] for each in (version, other))
    return bool(one) and one < two


def versions_text(pipeline: str) -> str:
    """Returns libraries.yaml for this package.

    Args:
        pipeline: text of dvc.yaml, whose hash tells later whether it was edited by hand.
    """
    entries = [f"{key_of(name)}: {{{', '.join(_entry(name))}}}" for name in ["general", *stage_names()]]
    retired = ", ".join(f"'{text_hash(entry)}'" for entry in package_entries(product_text(ADVANCED_FILE.name)))
    facts = [f"version: '{installed_version()}'", f"dvc_yaml: '{text_hash(pipeline)}'", f"{RETIRED}: [{retired}]"]
    own = [*facts, *entries]
    lines = [line for entry in own for line in wrapped(f"  {entry}", 4)]
    versions = [line for line in product_text(LIBRARIES).splitlines() if not line.startswith("#")]
    anchored = [re.sub(r"^([\w-]+): ", r"\1: &\1 ", line) for line in versions]
    return "\n".join([HEAD.rstrip("\n"), *anchored, f"{SECTION}:", *lines]) + "\n"


def _entry(name: str) -> list[str]:
    libraries = [] if name == "general" else libraries_of(name.rpartition(".")[2])
    return [f"{CODE}: '{hash_of(name)}'", *(f"{library}: *{library}" for library in libraries)]


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
    key, entry = key_of(name), section.get(key_of(name))
    tracked = entry.get(CODE) if isinstance(entry, dict) else entry
    if tracked != hash_of(name):
        now, then = installed_version(), str(section.get("version"))
        way_out = f"install attune {then}" if is_older(now, then) else f"run: attune upgrade, or install attune {then}"
        raise BadInput(
            f"{LIBRARIES}: {SECTION}.{key}.{CODE} is {tracked}, but the installed attune {now} has other code for this "
            f"stage; {way_out}"
        )
