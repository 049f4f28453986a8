"""Says what an encoder is, how its family is used, and which parameters pin it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attune.cli.base import endpoint
from attune.cli.base.hub import hub_source
from attune.cli.base.interface import Encoder
from attune.cli.base.section import SECTION, values_of, write_values
from attune.cli.base.source import Source, folder_source
from attune.encoding.families import MAX_BYTES, MINILM, Family, family_of, instead_of, is_too_large
from attune.encoding.layouts import require_tokenizer
from attune.encoding.prompts import absent_prompts, quoted_prompts, unread_prompts, used_prompts
from attune.encoding.settings import Settings, read_settings
from attune.errors import BadInput
from attune.stage import PARAMS_FILE, all_params

LARGE = 200_000_000  # parameters from which a note names the settings that save memory
MAIN = "main"  # the branch that a hub gives first
NOT_RUN = ("collect", "prepare", "split", "near_domain", "evaluate@bm25", "champion")  # stages that no encoder enters


def base(model: str, revision: str, is_written: bool, file: Path = PARAMS_FILE, name: str = "") -> Encoder:
    """Describes an encoder, and writes the section base if asked to.

    Args:
        model: folder, name on the hub, or address of an endpoint.
        revision: branch, tag or commit on the hub.
        is_written: writes the section into params.yaml and advanced.yaml.
        file: path of params.yaml.
        name: of the model at the endpoint; "" for the only one there.

    Raises:
        BadInput: the encoder cannot be found, read or used, or a parameter is missing.
    """
    if endpoint.is_address(model):
        return served(model, revision, is_written, file, name)
    if name:
        raise BadInput(f"--name: got {name}, but {model} is no address of an endpoint; leave it out")
    is_folder = Path(model).is_dir()
    if is_folder and revision != MAIN:
        raise BadInput(f"--revision: got {revision}, but {model} is a folder here, which has none; leave it out")
    source = folder_source(Path(model)) if is_folder else hub_source(model, revision)
    settings = read_settings(source.model, source.texts)
    require_tokenizer(source.model, source.sha256, settings.folder)
    if is_too_large(source.n_parameters):
        raise BadInput(
            f"{source.model}: its weights have {4 * source.n_parameters:,} bytes in fp32, expected at most "
            f"{MAX_BYTES:,}, the size of one ONNX file; use {instead_of(source.model)}"
        )
    family, absent = family_of(source.model), absent_prompts(source.model, settings.prompts, {})
    current = all_params(file) if is_written else {}
    values = {f"{SECTION}.{key}": value for key, value in values_of(source, absent).items()}
    values |= endpoint.without_endpoint(current)
    again = f"attune base {model}{'' if revision == MAIN else f' --revision {revision}'} --write"
    described = Encoder(
        source.model,
        source.place,
        source.n_parameters,
        source.n_weight_bytes,
        settings.dimension,
        settings.max_length,
        dict(settings.prompts),
        facts(source, settings, family),
        notes(source, settings, family),
        values,
        is_written,
        [*written(values, file), *endpoint.untrained(current)] if is_written else [f"`{again}` writes these"],
    )
    length = current.get(SECTION, {}).get("max_length")
    if isinstance(length, int) and 0 < settings.positions < length:
        raise BadInput(
            f"{file}: base.max_length: got {length}, but {source.model} has {settings.positions} positions; "
            "set it to auto or lower it"
        )
    if is_written:
        write_values(values, file)
    return described


def served(url: str, revision: str, is_written: bool, file: Path, name: str) -> Encoder:
    """Describes an encoder behind an endpoint, and writes what uses it, as `base` does."""
    if revision != MAIN:
        raise BadInput(f"--revision: got {revision}, but {url} is an endpoint, which has none; leave it out")
    answered = endpoint.ask(url, name)
    values, current = endpoint.values_of(answered), all_params(file) if file.exists() else {}
    again = f"attune base {url}{f' --name {name}' if name else ''} --write"
    described = Encoder(
        answered.model,
        f"the endpoint {answered.url}",
        0,
        0,
        answered.dim,
        0,
        dict(values["base.prompts"]),
        endpoint.facts(answered),
        endpoint.notes(current.get(SECTION, {})),
        values,
        is_written,
        written(values, file) if is_written else [f"`{again}` writes these"],
    )
    if is_written:
        write_values(values, file)
    return described


def written(values: Mapping[str, Any], file: Path) -> list[str]:
    """Returns the lines after parameters are written: what they are for, and which stages will run."""
    others = [key for key in values if not key.startswith(f"{SECTION}.")]
    also = f", and {' and '.join(others)}" if others else ""
    return [
        f"{file} and advanced.yaml: section {SECTION} is written{also}, comments are as they were",
        f"`make repro` runs all stages but {', '.join(NOT_RUN[:-1])} and {NOT_RUN[-1]}",
        "the baseline in git is the earlier encoder's: make both commits anew (CONTRIBUTING.md, One commit)",
    ]


def facts(source: Source, settings: Settings, family: Family | None) -> dict[str, str]:
    """Returns what an encoder's files and its family say, in words."""
    size = f"{source.n_weight_bytes / 1e6:,.1f} MB of weights"
    size += f", {source.n_parameters / 1e6:,.1f} million parameters" if source.n_parameters else ""
    prompts = ", ".join(f"{name} {prompt!r}" for name, prompt in settings.prompts.items())
    return {
        "revision": source.revision or "none, a folder is pinned by the sha256 of its files",
        "files": f"{len(source.sha256)}, pinned by sha256",
        "licence": source.licence or "none named",
        "size": size,
        "cost": cost(source, settings),
        "architecture": settings.architecture + (f", {settings.dimension} dimensions" if settings.dimension else ""),
        "maximum length": length(settings),
        "pooling": settings.pooling or "none named, so the mean is taken",
        "prompts": prompts or "none",
        "family": convention(family) if family else "not known; read its model card for prompts and pooling",
    }


def cost(source: Source, settings: Settings) -> str:
    """Says how much an encoder computes for a token, relative to the default, by its number of parameters.

    Not known where a hub does not count them, or layers share them, as ALBERT's do.
    """
    n_multiplied = source.n_parameters - settings.n_token_numbers
    if not source.n_parameters or n_multiplied <= 0 or settings.architecture.startswith("Albert"):
        return "not known"
    ratio = n_multiplied / MINILM.n_multiplied
    return f"about {ratio:,.{0 if ratio >= 2 else 1}f} times the default encoder's per token, to train and to encode"


def length(settings: Settings) -> str:
    """Says how many tokens an encoder reads, and how many it could."""
    if not settings.max_length:
        return "no limit named"
    said = f"{settings.max_length:,} tokens"
    is_less = settings.max_length < settings.positions
    return f"{said} by its settings; its {settings.positions:,} positions allow more" if is_less else said


def convention(family: Family) -> str:
    """Says how a family's makers use it, with the source."""
    prompts = quoted_prompts({"query": family.query, "document": family.document})
    return f"{family.title}: pooling {family.pooling}, {prompts} (model card of {family.card})"


def notes(source: Source, settings: Settings, family: Family | None) -> list[str]:
    """Returns what to mend or to know before an encoder is tuned."""
    said = [] if source.licence else ["its licence is not known: ask its makers, and set base.licence before you ship"]
    if Path(source.folder).is_absolute():
        said.append(
            "its folder is a path of this machine: put it inside the project, so that others can run the pipeline"
        )
    if source.n_parameters > LARGE:
        said.append(
            "to train it within a laptop's memory, set train.lora_rank: 16, train.loss: cached_mnrl and "
            "train.mini_batch_size: 8 (docs/encoders.md)"
        )
    if family and family.pooling != (settings.pooling or "mean"):
        said.append(f"its pooling is {settings.pooling or 'the mean'}, but {family.pooling} in its family: check it")
    return said + prompt_notes(source.model, settings.prompts)


def prompt_notes(model: str, own: Mapping[str, str]) -> list[str]:
    """Returns what to know of an encoder's prompts: the family's that it lacks, or why its own cannot be used."""
    absent = absent_prompts(model, own, {})
    said = [f"its family puts {quoted_prompts(absent)}, which its folder lacks: base.prompts below has them"] * bool(
        absent
    )
    try:
        used_prompts(model, own, absent)
    except BadInput as error:
        said.append(str(error))
    return [*said, *filter(None, [unread_prompts(model, own, absent)])]
