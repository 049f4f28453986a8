"""Scores the champion, an encoder released earlier, on today's test beside base and tuned, query by query.

Revisions with another test cannot be compared by their figures; the released encoder can be scored anew whatever grew
since. Queries that its training could have seen are left out and counted: they would flatter it. Without a champion
(`evaluate.champion: ''`) nothing is encoded.
"""

from pathlib import Path

import polars as pl

from attune.data.trained_on import read_trained_on, seen_clusters
from attune.encoding.scored import load_encoder, way_of
from attune.encoding.shards import encode_kept, encoder_hash
from attune.errors import BadInput
from attune.evaluation.scoring.encoded import score_split
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import MEASURES, RECALL_AT
from attune.retrieval.passages import read_passages
from attune.runtime.folders import is_inside
from attune.runtime.integrity import verify_files
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import CORPUS, SPLIT_QUERIES, read, scores_columns, write

SCORES = scores_columns(MEASURES)
DEPTH = max(RECALL_AT)
SCRATCH = Path("scratch/champion")
SYSTEM = "tuned"  # of whose graph and number format the champion's are


class ChampionParams(Params):
    """Threads and number format with which the champion runs."""

    machine: Machine


def champion(
    params: ChampionParams,
    *,
    folder: Path,
    name: str,
    by: str,
    prepared: Path,
    splits: Path,
    out: Out,
) -> Receipt:
    """Writes the champion's scores of the test queries that it cannot have seen.

    Args:
        params: of the stage.
        folder: holds released encoders by name.
        name: of the champion; "" for none.
        by: the split's protocol.
        prepared, splits: corpus and test queries.
        out: gets scores.parquet, empty without a champion.

    Raises:
        BadInput: there is no such folder, it is damaged, or its encoder has seen all but one cluster of test.
    """
    if not name:
        write(pl.DataFrame(schema=dict(SCORES)), out / "scores.parquet", SCORES)
        return {"name": "", "n_queries": 0, "n_left_out": 0}
    released = released_folder(folder, name)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    test = load_split(splits / "test", corpus)
    trained_on = read_trained_on(released)
    seen = set() if trained_on is None else seen_clusters(splits / "test", corpus, trained_on, by)
    kept = read(splits / "test" / "queries.parquet", SPLIT_QUERIES)["cluster_id"].is_in(list(seen)).not_()
    if test.cluster_ids.filter(kept).n_unique() < 2:
        raise BadInput(
            f"{released}: was trained on {len(seen)} of test's {test.cluster_ids.n_unique()} clusters, so nothing is "
            "left to compare on; name another champion in evaluate.champion, or '' for none"
        )
    way = way_of(SYSTEM, released, params.machine)
    encoder = load_encoder(SYSTEM, way, released, released, params.machine)
    scored, passages = test.take(kept.arg_true().to_numpy()), read_passages(prepared, corpus)
    scratch = SCRATCH / encoder_hash(params, way, released.rglob("*"))  # of earlier runs: the encoder stays, texts grow
    vectors = encode_kept(passages.texts, encoder.encode_document, scratch, "corpus")
    table = score_split(encoder, passages, scored, DEPTH, params.machine.threads, vectors)
    write(table.select(list(SCORES)).sort("query_id"), out / "scores.parquet", SCORES)
    return {
        "name": name,
        **{measure: float(table[measure].mean()) for measure in MEASURES},  # type: ignore[arg-type]
        "n_queries": table.height,
        "n_left_out": len(test.texts) - table.height,
        "is_training_known": trained_on is not None,
    }


def released_folder(folder: Path, name: str) -> Path:
    """Returns the folder of a released encoder, its files verified.

    Raises:
        BadInput: there is none of this name, or a file of it is damaged.
    """
    path = folder / name
    if not is_inside(name) or not (path / "manifest.json").is_file():
        raise BadInput(
            f"evaluate.champion: {path}: expected a released encoder (a folder with manifest.json); "
            f"dvc get . models/onnx --rev TAG -o {folder / 'NAME'}, or set '' for none"
        )
    verify_files(path)
    return path


if __name__ == "__main__":
    run(champion)
