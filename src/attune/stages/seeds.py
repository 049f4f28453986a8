"""Scores the encoders of the other training seeds, so that a gain is not mistaken for the luck of one seed.

The first seed's encoder is models/tuned, which stage evaluate has scored; the others have no graph, so torch runs them,
which changes scores by rounding. With a single seed nothing is encoded, and the figures are those of tuned.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from attune.encoding.scored import Encoder, load_encoder, way_of
from attune.errors import BadInput
from attune.evaluation.scoring.encoded import score_split
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import MEASURES, RECALL_AT
from attune.evaluation.scoring.query_clusters import clusters_of
from attune.evaluation.statistics.significance import Interval, compare_seeds
from attune.retrieval.passages import Passages, read_passages
from attune.runtime.arrays import Float64, Int64
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import CORPUS, read, scores_columns, seed_scores_columns, write

SCORES, SEED_SCORES = scores_columns(MEASURES), seed_scores_columns(MEASURES)
SPLITS_SCORED = ("dev", "test")
DEPTH = max(RECALL_AT)
REPORTED = ("recall@10", "mrr@10", "ndcg@10")


class SeedsParams(Params):
    """Threads, precision and batch size with which the other seeds' encoders run."""

    machine: Machine


def read_seeds(models: Path) -> tuple[int, dict[int, Path]]:
    """Reads the seed of models/tuned, and the folders of the other seeds' encoders.

    Raises:
        BadInput: the list of seeds is missing or damaged.
    """
    path = models / "seeds.json"
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        return int(listed["first"]), {int(seed): models / str(seed) for seed in listed["others"]}
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: not what merge writes ({error!r}); delete it and run `dvc repro`") from None


def load_seed(folder: Path, machine: Machine) -> Encoder:
    """Loads an encoder as stage embed loads one without a graph."""
    return load_encoder("round", way_of("round", folder, machine), folder, folder, machine)


def score_encoder(encoder: Encoder, passages: Passages, splits: Path, threads: int) -> pl.DataFrame:
    """Scores one encoder on every dev and test query, with the measures of stage evaluate."""
    documents = encoder.encode_document(passages.texts, show_progress=True)
    tables = []
    for name in SPLITS_SCORED:
        split = load_split(splits / name, passages.corpus)
        tables.append(score_split(encoder, passages, split, DEPTH, threads, documents))
    return pl.concat(tables)


def read_scores(runs: Path, system: str) -> pl.DataFrame:
    """Reads a system's measures of the dev and test queries, as stage evaluate wrote them."""
    scores = read(runs / system / "scores.parquet", SCORES)
    return scores.filter(pl.col("split").is_in(SPLITS_SCORED)).sort("query_id")


def values_on_test(
    tables: Mapping[int, pl.DataFrame], base: pl.DataFrame, test: Path
) -> tuple[dict[str, Float64], dict[str, Float64], Int64]:
    """Returns, for each reported measure on the test queries, base's and the seeds' values, and the queries' clusters.

    Args:
        tables: scores per query of each seed.
        base: scores per query of base.
        test: folder of the test split.

    Returns:
        By measure: base's values (n_queries,), and the seeds' values (n_seeds, n_queries); last the (n_queries,)
        number of each query's cluster.

    Raises:
        BadInput: base and the seeds were not scored on the same queries, or not on those of the split.
    """
    sides = [table.sort("query_id").filter(pl.col("split") == "test") for table in (base, *tables.values())]
    if not all(side["query_id"].equals(sides[0]["query_id"]) for side in sides):
        raise BadInput("seeds: base and the seeds were scored on different test queries; run `dvc repro`")
    columns = {name: np.stack([side[name].to_numpy() for side in sides]) for name in REPORTED}
    clusters = clusters_of(test, sides[0]["query_id"].to_list())
    of_base, of_seeds = ({name: values[part] for name, values in columns.items()} for part in (0, slice(1, None)))
    return of_base, of_seeds, clusters


def receipt(values: Mapping[str, Float64], intervals: Mapping[str, Interval]) -> Receipt:
    """Mean and sample standard deviation over seeds of each measure's mean, and the delta to base with its interval.

    Args:
        values: (n_seeds, n_queries) of each measure.
        intervals: of each measure's delta.
    """
    figures: dict[str, int | float] = {"n_seeds": len(next(iter(values.values())))}
    for name, of_seeds in values.items():
        means, interval = of_seeds.mean(axis=1), intervals[name]
        figures |= {
            f"mean_{name}": float(means.mean()),
            f"sd_{name}": float(means.std(ddof=1)) if len(means) > 1 else 0.0,
            f"delta_{name}": interval.delta,
            f"ci_low_{name}": interval.ci_low,
            f"ci_high_{name}": interval.ci_high,
        }
    return figures


def seeds(
    params: SeedsParams,
    *,
    models: Path,
    prepared: Path,
    splits: Path,
    runs: Path,
    confidence: float,
    out: Out,
) -> Receipt:
    """Scores every seed per query, and base against all seeds with an interval over queries and seeds.

    `confidence` is that of section gate of the parameters.
    """
    first, others = read_seeds(models)
    passages = read_passages(prepared, read(prepared / "corpus.parquet", CORPUS))
    base = read_scores(runs, "base")
    tables = {first: read_scores(runs, "tuned")}
    for number, folder in others.items():
        encoder = load_seed(folder, params.machine)
        tables[number] = score_encoder(encoder, passages, splits, params.machine.threads)
    written = [table.select(pl.lit(number).alias("seed"), *SCORES) for number, table in tables.items()]
    write(pl.concat(written).cast({"seed": pl.Int64}).sort("seed", "query_id"), out / "scores.parquet", SEED_SCORES)
    of_base, of_seeds, clusters = values_on_test(tables, base, splits / "test")
    intervals = compare_seeds(of_base, of_seeds, clusters, confidence)
    return receipt(of_seeds, intervals)


if __name__ == "__main__":
    run(seeds)
