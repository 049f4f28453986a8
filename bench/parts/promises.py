"""Resamples the queries of a finished pipeline, and counts in how many the promised precision is kept.

Test's queries are taken for all queries there are, so that the precision beyond any cutoff is known. In each resample
as many clusters of them as dev has are drawn with replacement, stage calibrate's rule chooses a cutoff from their first
hits, and the promise is kept if the first hits of all queries beyond it are right as often as promised. A resample from
which nothing is promised breaks nothing. Beside it stands the same choice without a bound: the lowest of the ten
cutoffs that reaches the precision in the sample. The last columns take the cutoff that dev promises, as it ships: what
it reaches on test, and in how many resamples of test's clusters that is the promised precision or more.

    python -m bench.parts.promises FOLDER... [--precisions 0.5 0.6 0.7 0.8] [--resamples 1000]

FOLDER is the project's root or a folder made by `make example`, in which stage evaluate has run. Takes seconds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attune.errors import BadInput
from attune.evaluation.calibration.hits import Hits, read_hits
from attune.evaluation.calibration.promises import N_CUTOFFS, Promise, promised
from attune.stage import all_params, fail
from bench.section import table

SYSTEMS = ("base", "tuned")
SEED = 13
HEAD = [
    *("data", "system", "precision", "a cutoff promised", "promise kept", "queries answered", "kept without a bound"),
    *("dev's cutoff: right on test", "kept in resamples of test"),
]
NOTHING = "–"


class Check(NamedTuple):
    """Shares over the resamples for one promised precision.

    Attributes:
        precision: that was promised.
        promised: resamples from which a cutoff was promised.
        kept: resamples that broke no promise.
        coverage: queries that the promised cutoffs answer, mean; None without any.
        kept_unbounded: resamples in which the cutoff chosen without a bound broke none.
        on_test: precision of test beyond dev's own cutoff; None where dev promises none.
        kept_on_test: resamples of test in which it reaches the promised precision; None likewise.
    """

    precision: float
    promised: float
    kept: float
    coverage: float | None
    kept_unbounded: float
    on_test: float | None
    kept_on_test: float | None


def resampled(first: Hits, n_clusters: int, random: np.random.Generator) -> Hits:
    """Returns the first hits of clusters drawn with replacement; a cluster drawn twice counts as two."""
    numbers = np.unique(first.clusters, return_inverse=True)[1]
    order = np.argsort(numbers, kind="stable")
    starts = np.searchsorted(numbers[order], np.arange(numbers.max() + 2))
    drawn = random.integers(len(starts) - 1, size=n_clusters)
    rows = np.concatenate([order[starts[one] : starts[one + 1]] for one in drawn])
    clusters = np.repeat(np.arange(n_clusters), starts[drawn + 1] - starts[drawn])
    return first._replace(scores=first.scores[rows], is_relevant=first.is_relevant[rows], clusters=clusters)


def right_share(first: Hits, cutoff: float) -> float:
    """Returns the share of first hits beyond a cutoff that are right; 1 where there are none."""
    answered = first.scores >= cutoff
    return float(first.is_relevant[answered].mean()) if answered.any() else 1.0


def unbounded(first: Hits, precision: float) -> float | None:
    """Returns the lowest of the ten cutoffs whose first hits are right as often as wanted, in this sample."""
    shares = np.arange(1, N_CUTOFFS + 1) / N_CUTOFFS
    cutoffs = np.quantile(first.scores, 1 - shares, method="lower")
    reached = [float(cutoff) for cutoff in cutoffs if right_share(first, cutoff) >= precision]
    return reached[-1] if reached else None


def _is_kept(population: Hits, cutoff: float | None, precision: float) -> bool:
    return cutoff is None or right_share(population, cutoff) >= precision


def checks(dev: Hits, test: Hits, precisions: Sequence[float], confidence: float, n: int) -> list[Check]:
    """Returns a check for each precision.

    Args:
        dev, test: first hits of the splits' queries.
        precisions: that are promised.
        confidence: of the promises.
        n: resamples.
    """
    random = np.random.default_rng(SEED)
    n_dev, n_test = (len(np.unique(one.clusters)) for one in (dev, test))
    samples = [resampled(test, n_dev, random) for _ in range(n)]
    others = [resampled(test, n_test, random) for _ in range(n)]
    found = []
    for precision in precisions:
        promises = [promised(sample, precision, confidence) for sample in samples]
        kept = [_is_kept(test, one.cutoff, precision) for one in promises]
        plain = [_is_kept(test, unbounded(sample, precision), precision) for sample in samples]
        answered = [float((test.scores >= one.cutoff).mean()) for one in promises if one.cutoff is not None]
        own = promised(dev, precision, confidence)
        means = float(np.mean(kept)), float(np.mean(answered)) if answered else None, float(np.mean(plain))
        found.append(Check(precision, len(answered) / n, *means, *_on_test(own, test, others, precision)))
    return found


def _on_test(own: Promise, test: Hits, samples: Sequence[Hits], precision: float) -> tuple[float | None, float | None]:
    """Returns what dev's cutoff reaches on test, and the share of its resamples in which it keeps the promise."""
    if own.cutoff is None:
        return None, None
    kept = [_is_kept(sample, own.cutoff, precision) for sample in samples]
    return right_share(test, own.cutoff), float(np.mean(kept))


def measure(folder: Path, system: str, precisions: Sequence[float], n: int) -> list[Check]:
    """Checks the promises of one system of a finished pipeline.

    Raises:
        BadInput: the pipeline has not run yet.
    """
    confidence = all_params(folder / "params.yaml")["gate"]["confidence"]
    dev, test = (read_hits(folder / "data/runs" / system, folder / "data/splits" / split) for split in ("dev", "test"))
    return checks(dev.first, test.first, precisions, confidence, n)


def row(name: str, system: str, check: Check) -> list[str]:
    """Returns a check as cells of HEAD."""
    shares = [check.promised, check.kept, check.coverage, check.kept_unbounded, check.on_test, check.kept_on_test]
    cells = [NOTHING if share is None else f"{100 * share:.1f}%" for share in shares]
    return [name, system, f"{100 * check.precision:.0f}%", *cells]


def main() -> None:
    """Prints a row per folder, system and precision."""
    parser = argparse.ArgumentParser(description="counts resamples in which the promised precision is kept")
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--precisions", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8], help="0 to 1")
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    if not all(0 < one < 1 for one in options.precisions) or options.resamples < 1:
        parser.error("expected --precisions between 0 and 1, and --resamples of 1 or more")
    rows = []
    try:
        for folder in options.folders:
            for system in SYSTEMS:
                found = measure(folder, system, options.precisions, options.resamples)
                rows += [row(folder.resolve().name, system, check) for check in found]
    except (BadInput, OSError) as error:
        fail("promises", error)
    print(table(HEAD, rows, n_text=2))


if __name__ == "__main__":
    main()
