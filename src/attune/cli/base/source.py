"""The files of an encoder, from a folder or from the hub, with what pins them."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from safetensors import SafetensorError, safe_open

from attune.encoding.layouts import BIN, SAFETENSORS
from attune.encoding.settings import texts_of
from attune.errors import BadInput
from attune.stage import sha256_of
from attune.stages.base import files_to_copy

# SPDX identifiers of what model cards write in lower case; others are taken as they are
SPDX = {
    **{"apache-2.0": "Apache-2.0", "mit": "MIT", "bsd-3-clause": "BSD-3-Clause", "bsd-2-clause": "BSD-2-Clause"},
    **{"cc-by-4.0": "CC-BY-4.0", "cc-by-sa-4.0": "CC-BY-SA-4.0", "cc-by-nc-4.0": "CC-BY-NC-4.0"},
    **{"cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0", "cc0-1.0": "CC0-1.0", "openrail": "OpenRAIL"},
}
CARD_HEADER = re.compile(r"---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """An encoder as its place gives it.

    Attributes:
        model: name.
        place: where its files are, in words.
        revision: commit on the hub; "" for a folder.
        folder: local folder; "" for the hub.
        licence: SPDX identifier where there is one; "" where none is named.
        sha256: of each file that stage base copies, by path.
        n_weight_bytes: bytes of its weights.
        n_parameters: numbers in its weights; 0 where the hub does not say.
        texts: of its small settings files, by path.
    """

    model: str
    place: str
    revision: str
    folder: str
    licence: str
    sha256: dict[str, str]
    n_weight_bytes: int
    n_parameters: int
    texts: dict[str, str]


def is_weights(name: str) -> bool:
    """Tells whether a file holds weights."""
    return name.endswith((SAFETENSORS, BIN))


def spdx(licence: object, own_name: object = None) -> str:
    """Returns the licence of a model card as an SPDX identifier; for `other`, the name that the card gives to it."""
    name = own_name if licence == "other" and own_name else licence
    return SPDX.get(str(name).lower(), str(name)) if isinstance(name, str) else ""


def folder_source(folder: Path) -> Source:
    """Returns the encoder in a local folder.

    Raises:
        BadInput: the folder has no weights in safetensors, or a file cannot be read.
    """
    names = files_to_copy(folder, {})
    weights = [folder / name for name in names if is_weights(name)]
    about = _about(folder)
    return Source(
        model=model_name(folder),
        place=f"the folder {folder}",
        revision="",
        folder=str(folder),
        licence=str(about.get("licence") or _card_licence(folder)),
        sha256={name: sha256_of(folder / name) for name in names},
        n_weight_bytes=sum(path.stat().st_size for path in weights),
        n_parameters=sum(_n_numbers(path) for path in weights if path.suffix == SAFETENSORS),
        texts=texts_of(str(folder), ((name, folder / name) for name in names)),
    )


def model_name(folder: Path) -> str:
    """Returns the name of the encoder in a folder: that of attune.json, else the folder's own."""
    return str(_about(folder).get("model") or folder.resolve().name)


def _about(folder: Path) -> dict[str, object]:
    """Returns what attune.json says, which stage base writes beside an encoder."""
    try:
        content = json.loads((folder / "attune.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _card_licence(folder: Path) -> str:
    """Returns the licence in the header of README.md; "" where there is none that can be read."""
    try:
        found = CARD_HEADER.match((folder / "README.md").read_text(encoding="utf-8-sig"))
        header = YAML(typ="safe").load(found[1]) if found else {}
    except (FileNotFoundError, YAMLError, ValueError):
        return ""
    return spdx(header.get("license"), header.get("license_name")) if isinstance(header, dict) else ""


def _n_numbers(weights: Path) -> int:
    try:
        with safe_open(weights, framework="numpy") as file:
            return sum(_product(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{weights}: not readable as safetensors ({error}); fetch or save the encoder again") from None


def _product(shape: Iterable[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
