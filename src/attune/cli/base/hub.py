"""Asks the hub for an encoder: commit, licence, sizes and sha256; only its small files are downloaded."""

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # of the HTTP client that the hub's client uses, whichever that is: no connection is no OSError
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from attune.cli.base.source import Source, is_weights, spdx
from attune.encoding.layouts import BIN, MODULES, SAFETENSORS, needed
from attune.encoding.settings import first_folder, is_settings, texts_of
from attune.errors import BadInput
from attune.stage import sha256_of

TIMEOUT_SECONDS = 30


def hub_source(model: str, revision: str) -> Source:
    """Returns an encoder as the hub has it, at the commit that the revision now is.

    Args:
        model: name on the hub, owner/name.
        revision: branch, tag or commit.

    Raises:
        BadInput: the hub cannot be asked, does not have the model or does not give it, or it has no safetensors.
    """
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        info = api.model_info(model, revision=revision, files_metadata=True, timeout=TIMEOUT_SECONDS)
        files = {file.rfilename: file for file in info.siblings or []}
        own = first_folder(_modules(api, model, info.sha)) if MODULES in files else ""
        files = {name: files[name] for name in needed(files, own) if name != BIN}  # which stage base does not download
        if not any(name.endswith(SAFETENSORS) for name in files):
            raise BadInput(
                f"{model}: no *.safetensors file at {revision}; choose a revision that has one (--revision), or save "
                "it with sentence-transformers' save_pretrained and name that folder"
            )
        sha256, texts = _contents(api, model, info.sha, files)
    except (HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(refusal(error, model, revision, api.endpoint)) from None
    card = info.card_data or {}
    return Source(
        model=model,
        place=f"the hub {api.endpoint}",
        revision=info.sha,
        folder="",
        licence=spdx(card.get("license"), card.get("license_name")),
        sha256=sha256,
        n_weight_bytes=sum(file.size or 0 for name, file in files.items() if is_weights(name)),
        n_parameters=info.safetensors.total if info.safetensors else 0,
        texts=texts,
    )


def _modules(api: HfApi, model: str, commit: str) -> str:
    """Returns the text of modules.json, which says where the transformer lies."""
    with TemporaryDirectory() as scratch:
        file = _downloaded(api, model, commit, [MODULES], scratch)[MODULES]
        return file.read_text(encoding="utf-8", errors="replace")


def _contents(
    api: HfApi, model: str, commit: str, files: Mapping[str, RepoSibling]
) -> tuple[dict[str, str], dict[str, str]]:
    """Returns the sha256 of all files and the texts of the settings; downloads only what the hub has no sha256 of."""
    known = {name: file.lfs.sha256 for name, file in files.items() if file.lfs}
    with TemporaryDirectory() as scratch:
        needed = [name for name in files if name not in known or is_settings(name)]
        local = _downloaded(api, model, commit, needed, scratch)
        found = {name: sha256_of(path) for name, path in local.items()} | known
        return {name: found[name] for name in sorted(files)}, texts_of(model, local.items())


def _downloaded(api: HfApi, model: str, commit: str, names: list[str], scratch: str) -> dict[str, Path]:
    """Downloads files to a folder, without progress bars; returns their paths by name."""
    is_quiet = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        return {n: Path(api.hf_hub_download(model, n, revision=commit, cache_dir=scratch)) for n in names}
    finally:
        if not is_quiet:
            enable_progress_bars()


def refusal(error: Exception, model: str, revision: str, hub: str) -> str:
    """Says in one line why the hub gave nothing, and what to do."""
    no_folder = f"{model}: no folder here, and"
    said = {  # the first that fits counts: a gated model counts as not found in the hub's client
        GatedRepoError: f"{model}: gated; accept its conditions at {hub}/{model} and set HF_TOKEN to a token of yours",
        RepositoryNotFoundError: f"{no_folder} not found on the hub {hub}; check the name, or set HF_TOKEN if private",
        RevisionNotFoundError: f"{model}: the hub {hub} has no revision {revision}; name a branch, tag or commit of it",
        OfflineModeIsEnabled: f"{no_folder} HF_HUB_OFFLINE forbids asking the hub {hub}; unset it or name a folder",
        HfHubHTTPError: f"{model}: the hub {hub} answered {_status(error)}; try again later, or name a folder",
        (HTTPError, OSError): f"{no_folder} the hub {hub} cannot be reached ({error}); check the network and "
        "HF_ENDPOINT, or name a folder",
        HFValidationError: f"{no_folder} no name on the hub; expected owner/name, or a folder",
        Exception: f"{no_folder} no answer of the hub {hub} that can be read ({error}); check the name and HF_ENDPOINT",
    }
    return next(line for kind, line in said.items() if isinstance(error, kind))


def _status(error: Any) -> str:  # noqa: ANN401
    """Returns the status of a refusing answer, such as 503."""
    return str(getattr(getattr(error, "response", None), "status_code", error))
