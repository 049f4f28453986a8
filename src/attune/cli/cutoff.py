"""`attune cutoff`: the cutoff of tuned's scores that has the effect of one of base's, by dev's relevant documents."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from attune.cli.interface import Cutoff
from attune.errors import BadInput
from attune.evaluation.calibration.promises import same_effect, share_kept
from attune.runtime.arrays import Float64
from attune.runtime.calibration import Calibration

FOLDER = Path("data/calibration")


def moved_cutoff(old: float, folder: Path = FOLDER) -> Cutoff:
    """Returns the new cutoff, what the old one would keep, and what both mean as probabilities.

    Args:
        old: cutoff of base's scores.
        folder: data/calibration.

    Raises:
        BadInput: the cutoff is not finite, stage calibrate has not run, or is off, or tuned's run does not hold so many
            relevant documents.
    """
    if not np.isfinite(old):
        raise BadInput(f"OLD: got {old:g}, expected a finite score; give that of base which a service uses")
    base, tuned = (_record(folder / f"{system}.json") for system in ("base", "tuned"))
    before, now = _relevant(base), _relevant(tuned)
    new, kept, unmoved = same_effect(old, before, now), share_kept(before, old), share_kept(now, old)
    if new is None:
        raise BadInput(
            f"cutoff {old:g}: base keeps {kept:.1%} of dev's relevant documents, more than tuned's runs hold; take a "
            "higher cutoff, or a larger evaluate.depth"
        )
    was, now_is = (float(_map(one).probability(np.array(at))) for one, at in ((base, old), (tuned, new)))
    return Cutoff(old, float(new), float(kept), float(unmoved), was, now_is)


def _record(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; run `dvc repro calibrate` with calibrate.depth above 0") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON ({error}); delete it and run `dvc repro calibrate`") from None


def _relevant(record: dict[str, Any]) -> Float64:
    found = np.array(record["relevant_scores"], dtype=np.float64)
    return np.concatenate([np.full(record["n_relevant"] - len(found), -np.inf), found])


def _map(record: dict[str, Any]) -> Calibration:
    scores, probabilities = (np.array(record[name], dtype=np.float64) for name in ("scores", "probabilities"))
    return Calibration(scores, probabilities)
