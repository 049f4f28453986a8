"""Encoders as stages base and embed make and run them: prompts, length, graph, engine, and vectors that are kept.

An encoder is prepared as stage base would prepare it, and its graph runs in the engine of stage embed, so its figures
are those that the report would have with it as base. Graphs and vectors stay in scratch/compare, by a hash of all that
they depend on; the folder may be deleted at any time.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from attune.cli.compare.vectors import SCRATCH, Ready, code, vectors_folder
from attune.data.lengths import counted, lengths_of
from attune.encoding.origin import ORIGIN
from attune.encoding.prompts import absent_prompts, used_prompts
from attune.encoding.scored import Encoder, Way, has_gpu, load_encoder, way_of
from attune.encoding.scratch import fingerprint
from attune.encoding.served import Served, ServedEncoder
from attune.encoding.served_tokens import TokenCounter
from attune.encoding.settings import Settings
from attune.encoding.shards import Vectors
from attune.errors import BadInput
from attune.runtime import Embedder
from attune.runtime.adapter import ADAPTER
from attune.runtime.manifest import read_manifest
from attune.stage import PARAMS_FILE, Machine, Receipt, all_params, write_json
from attune.stages.base import MAX_LENGTH, BaseParams, length_of_data, positions_of, prepared, prompts_of
from attune.tuning.base_encoder import write_graph

GRAPH_LIBRARIES = ("torch", "transformers", "sentence-transformers", "onnx", "onnxscript")


@dataclass(frozen=True)
class Data:
    """Files of the project that say at how many tokens texts are cut, and the length that is asked for instead.

    Attributes:
        corpus: path of corpus.parquet.
        train: folder of the train split.
        max_length: tokens for all encoders; None for what base.max_length says.
    """

    corpus: Path
    train: Path
    max_length: int | None


@dataclass(frozen=True)
class Weights:
    """An encoder with weights, to be prepared.

    Attributes:
        params: section base with this encoder's name and prompts.
        source: folder of its files.
        sha256: of those that are pinned.
        is_prepared: whether stage base or a later one wrote the folder, which then says at what length texts are cut.
        revision: commit on the hub; "" where there is none.
    """

    params: BaseParams
    source: Path
    sha256: Mapping[str, str]
    is_prepared: bool
    revision: str


def ready(weights: Weights, machine: Machine, data: Data) -> Ready:
    """Prepares and loads an encoder; exports its graph unless an earlier run has left it, or a GPU runs the weights.

    Raises:
        BadInput: it cannot be read, used or exported as a base encoder.
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="encoder-", dir=SCRATCH) as folder:
        model = Path(folder) / "model"
        settings, said = prepared(
            weights.params, weights.source, dict(weights.sha256), model, partial(_length, weights, data, model)
        )
        if has_gpu():
            _write_origin(weights, model, machine)
            place = model
        else:
            place = _graph(weights, settings, model, machine, Path(folder) / "graph")
        way = way_of("base", place, machine)
        encoder = load_encoder("base", way, place, place, machine)
        scratch = vectors_folder(way, machine, [*place.rglob("*")])
    about = {"model": weights.params.model, "revision": weights.revision, **_read_as(said)}
    return Ready(encoder, scratch, about | _computed(encoder, way))


def runtime_ready(folder: Path, machine: Machine) -> Ready:
    """Loads an encoder that attune has exported, as stage champion does; its query adapter, if it has one, counts."""
    way = way_of("tuned", folder, machine)
    manifest = read_manifest(folder)
    encoder = load_encoder("tuned", way, folder, folder, machine)
    if ADAPTER in manifest.files and isinstance(encoder, Embedder):
        encoder = _Adapted(encoder)
    said = {f"{kind}_prompt": manifest.prompts.get(kind, "") for kind in ("query", "document")}
    about = {"model": str(folder), "revision": "", **_read_as(said | {"max_length": manifest.max_length})}
    scratch = vectors_folder(way, machine, [*folder.rglob("*")])
    return Ready(encoder, scratch, about | _computed(encoder, way))


class _Adapted:
    """An exported encoder with its query adapter."""

    def __init__(self, encoder: Embedder) -> None:
        self.dim = encoder.dim
        self._encoder = encoder

    def encode_query(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Embeds queries, mapped by the adapter."""
        return self._encoder.encode_query(texts, show_progress=show_progress, adapter=True)

    def encode_document(self, texts: Sequence[str], *, show_progress: bool = False) -> Vectors:
        """Embeds documents, which the adapter leaves as they are."""
        return self._encoder.encode_document(texts, show_progress=show_progress)


def served_ready(params: BaseParams, data: Data) -> Ready:
    """Describes an encoder behind an endpoint as stage base does; asks for one vector, to know its length.

    Args:
        params: section base with the endpoint, the encoder's name there and its prompts.
        data: of the project.

    Raises:
        BadInput: the endpoint does not answer, or not with vectors.
    """
    endpoint = params.endpoint
    tokens = TokenCounter.read(Path(endpoint.tokenizer) if endpoint.tokenizer else None)
    prompts = used_prompts(params.model, {}, {str(kind): text for kind, text in params.prompts.items()})
    free = params.model_copy(update={"run_tokens": sys.maxsize, "max_length": data.max_length or params.max_length})
    count = partial(counted, tokens.count, prompts)
    length, _ = length_of_data(free, data.corpus, data.train, MAX_LENGTH, count)
    described = Served(model=params.model, endpoint=endpoint, prompts=prompts, max_length=length, dim=0)
    described = described.model_copy(update={"dim": len(ServedEncoder(described, tokens).known_vector())})
    encoder = ServedEncoder(described, tokens)
    said = {f"{kind}_prompt": text for kind, text in prompts.items()} | {"max_length": length}
    way = Way("endpoint", "server", "unknown")
    about = {"model": params.model, "revision": "", "endpoint": endpoint.url, **_read_as(said)}
    settings = described.model_dump(include={"model", "prompts", "max_length", "dim"}) | {"url": endpoint.url}
    scratch = SCRATCH / "vectors" / fingerprint(settings, (), ())
    return Ready(encoder, scratch, about | _computed(encoder, way))


def with_family_prompts(params: BaseParams, model: str, own: Mapping[str, str]) -> BaseParams:
    """Returns section base for another encoder: its prompts, and those of its family that its folder lacks.

    These are the prompts that `attune base MODEL --write` would set.

    Args:
        params: section base.
        model: name of the encoder.
        own: prompts of its folder.
    """
    return params.model_copy(update={"model": model, "prompts": absent_prompts(model, own, {})})


def _length(weights: Weights, data: Data, model: Path, settings: Settings) -> tuple[int, Receipt]:
    """Returns the number of tokens at which texts are cut: never more than the encoder has positions."""
    positions, params = positions_of(settings), weights.params
    asked = data.max_length or (settings.max_length if weights.is_prepared else 0)
    if not asked and params.max_length == "auto":
        count = partial(lengths_of, model, prompts_of(params, settings))
        return length_of_data(params, data.corpus, data.train, positions, count)
    return min(asked or int(params.max_length), positions), {}


def _graph(weights: Weights, settings: Settings, model: Path, machine: Machine, out: Path) -> Path:
    """Returns the folder of the encoder's graph, which is exported where no earlier run has left it."""
    files = sorted(file for file in model.rglob("*") if file.is_file())
    export = all_params()["export"], settings.positions, machine.precision
    folder = SCRATCH / "graphs" / fingerprint(export, GRAPH_LIBRARIES, [*files, *code()])
    if not folder.is_dir():
        sys.stderr.write(f"attune compare: exports the graph of {weights.params.model}\n")
        _write_origin(weights, model, machine)
        write_graph(model, settings.positions, PARAMS_FILE, out)
        (out / ORIGIN).write_bytes((model / ORIGIN).read_bytes())
        folder.parent.mkdir(parents=True, exist_ok=True)
        out.replace(folder)
    return folder


def _write_origin(weights: Weights, model: Path, machine: Machine) -> None:
    """Writes attune.json, which says where bf16 is wrong; refuses an encoder that cannot encode what people have."""
    # imported here: torch takes seconds, and only a new encoder needs it
    from attune.encoding.encoders import load_torch  # noqa: PLC0415
    from attune.encoding.fitness import check_size, check_tokenizer, is_wrong_in_bf16  # noqa: PLC0415
    from attune.encoding.torch_threads import set_torch_threads  # noqa: PLC0415
    from attune.tuning.rehearsal import sample_texts  # noqa: PLC0415

    name = weights.params.model
    check_size(name, model)
    set_torch_threads(machine.threads)
    encoder = load_torch(model, remedy="save it again with sentence-transformers' save_pretrained")
    check_tokenizer(name, encoder)
    is_wrong = is_wrong_in_bf16(name, encoder, sample_texts(encoder), machine.precision)
    origin = {"model": name, "revision": weights.revision, "licence": ""}
    write_json(model / ORIGIN, origin | ({"precision": "fp32"} if is_wrong else {}))


def _read_as(said: Mapping[str, Any]) -> dict[str, Any]:
    prompts = {kind: said[f"{kind}_prompt"] for kind in ("query", "document")}
    cut = {key: said[key] for key in ("documents_cut_share", "queries_cut_share") if key in said}
    return {"max_length": said["max_length"], **cut, "prompts": prompts}


def _computed(encoder: Encoder, way: Way) -> dict[str, Any]:
    return {"dim": encoder.dim, "engine": way.engine, "precision": way.precision}


def refuse_length(max_length: int | None) -> None:
    """Refuses a length that no encoder may have.

    Raises:
        BadInput: it is not from 8 to the largest length.
    """
    if max_length is not None and not 8 <= max_length <= MAX_LENGTH:
        raise BadInput(f"--max-length: got {max_length}, expected 8 to {MAX_LENGTH} tokens; give such a number")
