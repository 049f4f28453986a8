"""Encodes the corpus and the queries once per encoder; evaluation, mining and drift all read these embeddings.

Encoding is nearly the whole cost of the pipeline outside training. The queries of each split go to a file of their own,
so a stage that must not see the test split does not have it among its inputs. The shards of base stay in
scratch/embed/kept/base: base is the encoder that new data leave as it is, so that a run encodes only the shards whose
texts are new, and makes the same bytes.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from attune.encoding import launch, processes
from attune.encoding.launch import SharedParams
from attune.encoding.scored import Way, load_encoder, way_of
from attune.encoding.served import ServedEncoder
from attune.encoding.shards import Assignment, distinct, encode_shards, encoder_hash, keep, write_vectors
from attune.errors import BadInput
from attune.files import discard
from attune.retrieval.passages import read_passages
from attune.stage import AfterCommit, Out, Receipt, run
from attune.tables import CORPUS, SPLIT_QUERIES, read

# Mining needs train queries; shipped models are scored only, and models of a round are only mined with.
SCORED = ("dev", "test", "paraphrases")
SPLITS_OF = {
    "base": ("train", *SCORED),
    "tuned": ("train", *SCORED),
    "round": ("train",),
    "tuned_int8": SCORED,
}

SCRATCH = Path("scratch/embed")
KEPT = ("base",)  # systems whose encoder stays while data grow


class EmbedParams(SharedParams):
    """Parameters of stage embed; prompts and maximum length belong to the encoder."""


def scratch_of(system: str, way: Way, params: EmbedParams, inputs: Iterable[Path]) -> Path:
    """Returns the folder of an encoder's shards, named by a hash of its parameters, libraries, files and code.

    Args:
        system: that is encoded.
        way: of the encoder.
        params: of the stage.
        inputs: files of the encoder; texts are in the names of the shards.

    Raises:
        BadInput: this process would do another run than rank 0.
    """
    shared = params.model_copy(update={"processes": 1})  # any number of processes makes the same shards
    folder = SCRATCH / "kept" / system if system in KEPT else SCRATCH
    return processes.same_on_all_ranks(folder / encoder_hash((system, shared), way, inputs))


def embed(
    params: EmbedParams,
    system: str,
    model: Path,
    exported: Path,
    prepared: Path,
    splits: Path,
    out: Out,
    after: AfterCommit,
) -> Receipt:
    """Writes corpus.npy, a row per passage, and a file per split's queries: float32, (n rows, dim), of length 1."""
    if system not in SPLITS_OF:
        expected = f"expected one of {', '.join(SPLITS_OF)}; pass it as --system"
        raise BadInput(f"embed: system is {system!r}, {expected}")
    tables = [splits / split / "queries.parquet" for split in SPLITS_OF[system]]
    texts = {file.parent.name: read(file, SPLIT_QUERIES)["text"].to_list() for file in tables}
    passages = read_passages(prepared, read(prepared / "corpus.parquet", CORPUS))
    texts["corpus"] = passages.texts
    way = way_of(system, model, params.machine)
    encoder = load_encoder(system, way, model, exported, params.machine)
    folder = model if way.engine == "torch" else exported
    scratch = scratch_of(system, way, params, folder.rglob("*"))
    assignment = Assignment(processes.rank(), processes.world_size())
    if isinstance(encoder, ServedEncoder) and processes.is_rank_0():
        encoder.announce([text for name in texts if name != "corpus" for text in texts[name]], texts["corpus"])
    indices, shards, n_encoded = {}, {}, 0
    for name, all_texts in texts.items():
        unique_texts, indices[name] = distinct(all_texts)
        encode = encoder.encode_document if name == "corpus" else encoder.encode_query
        kind = "documents" if name == "corpus" else "queries"
        shards[name] = encode_shards(unique_texts, encode, scratch / kind, assignment, name)
        n_encoded += len(unique_texts)
    processes.barrier()
    if not processes.is_rank_0():
        return {}
    out.mkdir(parents=True)
    for name, own_indices in indices.items():
        write_vectors(shards[name], own_indices, encoder.dim, out / f"{name}.npy")
    used = [file for files in shards.values() for file in files]
    after.append(partial(keep, scratch, used) if system in KEPT else partial(discard, scratch))
    n_queries = sum(map(len, texts.values())) - len(texts["corpus"])
    sizes = {"n_documents": passages.corpus.height, "n_queries": n_queries, "n_encoded": n_encoded}
    sizes |= {"n_passages": len(passages)} if passages.is_cut else {}
    return sizes | {"dim": encoder.dim, "engine": way.engine, "precision": way.precision}


if __name__ == "__main__":
    run(embed, launch.call)
