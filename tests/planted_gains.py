"""Gains with a planted truth: how scores of a split change where something, or nothing, was learnt.

nDCG@10 of one answer takes few values and many queries do not change at all, so differences are as discrete and skewed
as real ones. Where nothing is learnt, scores are drawn anew now and then, which changes no mean.
"""

from collections.abc import Callable, Iterator

import numpy as np

from attune.evaluation.report.gains import Gain, Gains
from attune.evaluation.report.overfitting import Curve
from attune.runtime.arrays import Float64
from attune.tuning.curve import BASE, Candidate, Point

N_TRAIN, N_CHECKPOINTS = 1000, 7
BY_RANK = np.array([0.0, *(1 / np.log2(np.arange(1, 11) + 1))])  # nDCG@10 of one answer by its rank; 0: not ranked
OF_RANK = np.array([0.2, 0.35, 0.12, 0.08, 0.06, 0.05, 0.04, 0.03, 0.03, 0.02, 0.02])  # how often a base has each

Rng = np.random.Generator
Learn = Callable[[Rng, Float64], Float64]  # tuned scores of queries with these base scores


def drawn(rng: Rng, n: int) -> Float64:
    """Returns (n,) scores of a base of middling quality."""
    return rng.choice(BY_RANK, n, p=OF_RANK)


def saturated(rng: Rng, n: int) -> Float64:
    """Returns (n,) scores of a base that puts nearly every answer first."""
    return rng.choice(np.array([1.0, BY_RANK[2], 0.0]), n, p=[0.95, 0.03, 0.02])


def by_heart(rng: Rng, base: Float64) -> Float64:
    """Puts two in three answers first."""
    return np.where(rng.random(len(base)) < 0.65, 1.0, base)


def learnt(chance: float) -> Learn:
    """Returns what puts this share of answers first that are not, and loses one in two hundred that are."""

    def learn(rng: Rng, base: Float64) -> Float64:
        lost = (base == 1.0) & (rng.random(len(base)) < 0.005)
        return np.where(lost, BY_RANK[2], np.where(rng.random(len(base)) < chance, 1.0, base))

    return learn


def nothing(rng: Rng, base: Float64) -> Float64:
    """Draws the scores of two in five queries anew: no gain in the mean over many."""
    return np.where(rng.random(len(base)) < 0.4, drawn(rng, len(base)), base)


def gain(base: Float64, tuned: Float64, size: int = 1) -> Gain:
    """Returns the gain on clusters of as many queries with the same scores, given one query of each."""
    clusters = np.repeat(np.arange(len(base)), size)
    return Gain.of(np.repeat(base, size), np.repeat(tuned, size), clusters)


def curve(devs: list[float], kept: int) -> Curve | None:
    """Returns a curve with these dev scores, of which this one's encoder is kept."""
    points = [Point(10 * i, None, dev) for i, dev in enumerate(devs)]
    return Curve.of(points, BASE if not kept else Candidate(10 * kept, 1, 1.0), len(devs))


def simulated(
    n_runs: int,
    n_held_out: tuple[int, int],
    start: Callable[[Rng, int], Float64],
    on_train: Learn,
    elsewhere: Learn,
    *,
    size: int = 1,
    keeps_last: bool = False,
) -> Iterator[tuple[Gains, Curve | None]]:
    """Yields trainings of seven checkpoints, of which the best on dev is kept.

    Args:
        n_runs: number of trainings.
        n_held_out: clusters of dev and of test.
        start: scores of the base.
        on_train: what training does to train's scores.
        elsewhere: what it does to dev's and test's, anew for each checkpoint.
        size: queries per cluster of dev and test, all with the same scores.
        keeps_last: keeps the last checkpoint instead.
    """
    rng = np.random.default_rng(29)
    learnt_from = start(rng, N_TRAIN)
    train = gain(learnt_from, on_train(rng, learnt_from))
    for _ in range(n_runs):
        dev, test = (start(rng, n) for n in n_held_out)
        looks = [elsewhere(rng, dev) for _ in range(N_CHECKPOINTS)]
        means = [float(look.mean()) for look in looks]
        kept = N_CHECKPOINTS - 1 if keeps_last else int(np.argmax(means))
        gains = {"train": train, "dev": gain(dev, looks[kept], size), "test": gain(test, elsewhere(rng, test), size)}
        yield gains, curve([0.0, *means], kept + 1)  # the start of training is no candidate here
