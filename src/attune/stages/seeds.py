"""Scores the encoders of the other training seeds, so that a gain is not mistaken for the luck of one seed.

The first seed's encoder is models/tuned, which evaluate has scored; the others are run and scored here in the same way.
With a single seed there is nothing to encode, and the figures are those of tuned.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from attune.errors import BadInput
from attune.evaluation.scoring.judgments import load_split
from attune.evaluation.scoring.measures import MEASURES, RECALL_AT, measure
from attune.evaluation.statistics.significance import Interval, compare_seeds
from attune.retrieval.exact import top_k
from attune.stage import Machine, Out, Params, Receipt, run
from attune.tables import (
    CORPUS,
    full_texts,
    read,
    scores_columns,
    seed_scores_columns,
    write,
)

if TYPE_CHECKING:
    from attune.encoding.encoders import TorchEncoder

SCORES, SEED_SCORES = scores_columns(MEASURES), seed_scores_columns(MEASURES)
SPLITS_SCORED = ("dev", "test")
DEPTH = max(RECALL_AT)
REPORTED = ("recall@10", "mrr@10", "ndcg@10")

Values = NDArray[np.float64]


class SeedsParams(Params):
    """How the other seeds' encoders are run, and how carefully base and tuned are compared."""

    machine: Machine
    n_resamples: int = Field(ge=100, le=1_000_000)
    confidence: float = Field(gt=0.5, lt=1)
    seed: int = Field(ge=0)


def read_seeds(models: Path) -> tuple[int, dict[int, Path]]:
    """The seed of models/tuned, and the folders of the others' encoders.

    Raises:
        BadInput: the list of the seeds is missing or damaged.
    """
    path = models / "seeds.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return int(found["first"]), {int(seed): models / str(seed) for seed in found["others"]}
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro` to make it") from None
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: not what merge writes ({error!r}); delete it and run `dvc repro`") from None


def load(folder: Path, params: SeedsParams) -> "TorchEncoder":
    """An encoder as embed runs it."""
    # torch takes seconds to import, which a single seed does without
    import torch  # noqa: PLC0415

    from attune.encoding.encoders import TorchEncoder, best_precision, load_torch  # noqa: PLC0415

    torch.set_num_threads(params.machine.threads)
    precision = best_precision() if params.machine.precision == "auto" else params.machine.precision
    return TorchEncoder(load_torch(folder), precision, params.machine.batch_tokens)


def score(encoder: "TorchEncoder", corpus: pl.DataFrame, splits: Path, threads: int) -> pl.DataFrame:
    """One encoder's measures of every dev and test query, as evaluate takes them."""
    documents = encoder.encode_document(full_texts(corpus), show_progress=True)
    tables = []
    for split in SPLITS_SCORED:
        asked = load_split(splits / split, corpus)
        vectors = encoder.encode_query(asked.texts, show_progress=True)
        _, rows = top_k(vectors, documents, DEPTH, threads)
        values = measure(rows, asked.judgments)
        tables.append(pl.DataFrame({"query_id": asked.query_ids}).with_columns(split=pl.lit(split), **values))
    return pl.concat(tables)


def read_scores(runs: Path, system: str) -> pl.DataFrame:
    """A system's measures of the dev and test queries, as evaluate left them."""
    scores = read(runs / system / "scores.parquet", SCORES)
    return scores.filter(pl.col("split").is_in(SPLITS_SCORED)).sort("query_id")


def values_on_test(
    tables: Mapping[int, pl.DataFrame], base: pl.DataFrame
) -> tuple[dict[str, Values], dict[str, Values]]:
    """Of each reported measure, base's values (n_queries,) and the seeds' (n_seeds, n_queries) on the test queries.

    Raises:
        BadInput: they were not scored on the same queries.
    """
    sides = [table.sort("query_id").filter(pl.col("split") == "test") for table in (base, *tables.values())]
    if not all(side["query_id"].equals(sides[0]["query_id"]) for side in sides):
        raise BadInput("seeds: base and the seeds were scored on different test queries; run `dvc repro`")
    columns = {name: np.stack([side[name].to_numpy() for side in sides]) for name in REPORTED}
    return {name: values[0] for name, values in columns.items()}, {name: values[1:] for name, values in columns.items()}


def receipt(values: Mapping[str, Values], intervals: Mapping[str, Interval]) -> Receipt:
    """Mean and sample standard deviation over seeds of each measure's mean, and the delta to base with its interval."""
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


def seeds(params: SeedsParams, *, models: Path, prepared: Path, splits: Path, runs: Path, out: Out) -> Receipt:
    """Writes every seed's measures per query, and what they say together about tuned minus base."""
    first, others = read_seeds(models)
    corpus = read(prepared / "corpus.parquet", CORPUS)
    base = read_scores(runs, "base")
    tables = {first: read_scores(runs, "tuned")}
    for seed, folder in others.items():
        tables[seed] = score(load(folder, params), corpus, splits, params.machine.threads)
    written = [table.select(pl.lit(seed).alias("seed"), *SCORES) for seed, table in tables.items()]
    write(pl.concat(written).cast({"seed": pl.Int64}).sort("seed", "query_id"), out / "scores.parquet", SEED_SCORES)
    of_base, of_seeds = values_on_test(tables, base)
    intervals = compare_seeds(of_base, of_seeds, params.n_resamples, params.confidence, params.seed)
    return receipt(of_seeds, intervals)


if __name__ == "__main__":
    run(seeds)
