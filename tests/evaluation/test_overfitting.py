"""Verdict on overfitting for hand-computed gains and curves: each sign alone, with its figures in words."""

import pytest

from attune.evaluation.report.overfitting import Curve, Gains, judge
from attune.tuning.curve import Point

LIMITS = {"min_carried_share": 0.25, "max_decline": 0.02}


def gains(train: float, test: float) -> Gains:
    """Gains of this size on train, and on dev and test."""
    base = {"train_ndcg@10": 0.5, "dev_ndcg@10": 0.5, "ndcg@10": 0.5}
    tuned = {"train_ndcg@10": 0.5 + train, "dev_ndcg@10": 0.5 + test, "ndcg@10": 0.5 + test}
    return Gains.of(base, tuned)


def curve(devs: list[float], kept_step: int, losses: list[float] | None = None) -> Curve | None:
    """A curve with these dev scores every ten steps, and losses that fall unless given."""
    losses = losses or [1.0 - 0.1 * n for n in range(len(devs))]
    points = [Point(10 * n, loss if n else None, dev) for n, (dev, loss) in enumerate(zip(devs, losses, strict=True))]
    return Curve.of(points, kept_step)


def test_gains_are_tuned_minus_base() -> None:
    """The gap is tuned on train minus tuned on test, the carried share dev's gain by train's."""
    gained = gains(0.3, 0.1)
    assert (gained.train, gained.dev, gained.test, gained.gap) == pytest.approx((0.3, 0.1, 0.1, 0.2))
    assert gained.carried_share == pytest.approx(1 / 3)


def test_a_gain_that_carries_over_is_not_overfitting() -> None:
    """A third of train's gain on dev is enough where a quarter is required."""
    judged = judge(gains(0.3, 0.1), curve([0.5, 0.6, 0.7], 20), **LIMITS)
    assert not judged["is_overfitted"]
    assert judged["verdict"] == (
        "Not overfitted. nDCG@10 changed by +0.300 on train queries, +0.100 on dev, +0.100 on test: dev has 33% of "
        "the gain on train, at least 25% is asked. Dev was best at the end of training."
    )


@pytest.mark.parametrize("test", [0.05, 0.0, -0.2])
def test_a_gain_on_train_alone_is_overfitting(test: float) -> None:
    """Even where dev rises all through training; the verdict names remedies."""
    judged = judge(gains(0.4, test), curve([0.5, 0.6, 0.7], 20), **LIMITS)
    assert judged["is_overfitted"]
    assert judged["verdict"].startswith("Overfitted. ")
    assert "Remedies: fewer train.epochs" in judged["verdict"]


def test_a_fall_of_dev_is_harmless_if_the_best_is_kept() -> None:
    """The fall is reported, but is not overfitting where the best checkpoint is kept."""
    judged = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.6], 10), **LIMITS)
    assert not judged["is_overfitted"]
    assert judged["dev_decline"] == pytest.approx(0.1)
    assert "best at step 10 (0.700) and fell to 0.600" in judged["verdict"]
    assert "the encoder of step 10 is kept." in judged["verdict"]


def test_an_encoder_kept_past_the_best_of_dev_is_overfitted() -> None:
    """The verdict adds that the training loss kept falling meanwhile."""
    judged = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.6, 0.5], 30), **LIMITS)
    assert judged["is_overfitted"]
    assert "while the training loss kept falling, and the later encoder of step 30 is kept." in judged["verdict"]


def test_an_encoder_that_lost_on_train_too_is_overfitted() -> None:
    """A loss on train, dev and test with a later checkpoint kept counts, although there is no gain to carry over."""
    judged = judge(gains(-0.5, -0.5), curve([0.5, 0.1, 0.0], 20, [0.0, 3.0, 3.4]), **LIMITS)
    assert judged["is_overfitted"]
    assert judged["carried_share"] == 0
    assert "best at step 0 (0.500) and fell to 0.000, and the later encoder of step 20 is kept" in judged["verdict"]


def test_a_small_decline_is_no_overfitting() -> None:
    """A fall of dev within max_dev_decline is reported as tolerated."""
    judged = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.69], 20), **LIMITS)
    assert not judged["is_overfitted"]
    assert "is kept; the decline is within tolerance." in judged["verdict"]


def test_without_training_nothing_is_overfitted() -> None:
    """No curve, or one with a single point, gives no sign of overfitting."""
    for points in (None, curve([0.5], 0)):
        judged = judge(gains(0.0, 0.0), points, **LIMITS)
        assert (judged["is_overfitted"], judged["carried_share"], judged["dev_decline"]) == (False, 1, 0)
        assert judged["verdict"].startswith("Not overfitted. nDCG@10 changed by +0.000 on train queries")


def test_of_equal_points_the_earlier_is_the_best() -> None:
    """An encoder kept at the first of two equal dev scores is not past the best."""
    points = curve([0.5, 0.7, 0.7], 10)
    assert points is not None
    assert points.best.step == 10
    assert not points.is_kept_past_best
