"""Trains nothing: an encoder behind an endpoint has no weights here. Leaves the base as each seed's encoder."""

import json
import shutil
from pathlib import Path

import polars as pl

from attune.encoding.origin import ORIGIN
from attune.errors import BadInput
from attune.plots import RATES, TRAINING_CURVE, write_csv
from attune.stage import Out, Receipt, named, run
from attune.tuning.training.recipe import TrainParams


def train(
    params: TrainParams,
    base: Path,
    start: Path,
    prepared: Path,
    forms: Path,
    mined: Path,
    train: Path,
    dev_split: Path,
    out: Out,
    curve_file: Out,
    rates_file: Out,
) -> Receipt:
    """Copies the description of the encoder in `base` for each seed; writes empty curves. Reads no data.

    Raises:
        BadInput: train.epochs is not 0, or the base has weights, so that it could be trained.
    """
    if params.epochs != 0:
        got = f"{named('train.epochs')}: got {params.epochs}"
        raise BadInput(f"{got}, expected 0, as no encoder behind an endpoint can be trained; set it to 0")
    if "endpoint" not in json.loads((base / ORIGIN).read_text(encoding="utf-8")):
        raise BadInput(f"{named('programs.tuning')}: got served, but {base} has weights; set it to stages")
    for seed in params.seeds:
        shutil.copytree(base, out / str(seed))
    write_csv(pl.DataFrame(schema=dict(TRAINING_CURVE)), curve_file, TRAINING_CURVE)
    write_csv(pl.DataFrame(schema=dict(RATES)), rates_file, RATES)
    return {"n_steps": 0, "epochs": 0}


if __name__ == "__main__":
    run(train)
