"""Ships the base: of an encoder behind an endpoint there is no other candidate, and it keeps all of itself."""

import shutil
from pathlib import Path

import polars as pl
from pydantic import ConfigDict, Field

from attune.plots import MERGE_CURVE, write_csv
from attune.stage import Out, Params, Receipt, run, write_json
from attune.tuning.curve import BASE


class MergeParams(Params):
    """Floors that the receipt shows; the other parameters of merge choose among checkpoints, and there are none."""

    model_config = ConfigDict(extra="ignore")

    min_retention: float = Field(ge=0, le=1)
    min_near_domain: float = Field(ge=0, le=1)


def merge(
    params: MergeParams,
    *,
    base: Path,
    rounds: Path,
    first: int,
    prepared: Path,
    dev_split: Path,
    train_documents: Path,
    general: Path,
    near_domain: Path,
    out: Out,
    seeds: Out,
    curve_file: Out,
) -> Receipt:
    """Copies the description of the encoder in `base`; writes an empty table of candidates. Reads no data."""
    shutil.copytree(base, out)
    seeds.mkdir()
    write_json(seeds / "seeds.json", {"first": first, "others": []})
    write_csv(pl.DataFrame(schema=dict(MERGE_CURVE)), curve_file, MERGE_CURVE)
    return {
        **BASE._asdict(),
        "n_candidates": 1,
        "retention": 1.0,
        "retention_standard_error": 0.0,
        "min_retention": params.min_retention,
        "min_near_domain": params.min_near_domain,
        "n_seeds": 1,
    }


if __name__ == "__main__":
    run(merge)
