"""The verdict on overfitting: by hand-computed gains and curves, each sign alone, and with its evidence in words."""

import pytest

from attune.evaluation.report.overfitting import Curve, Gains, judge
from attune.tuning.curve import Point

LIMITS = {"min_carried_share": 0.25, "max_decline": 0.02}


def gains(train: float, test: float) -> Gains:
    base = {"train_ndcg@10": 0.5, "dev_ndcg@10": 0.5, "ndcg@10": 0.5}
    tuned = {"train_ndcg@10": 0.5 + train, "dev_ndcg@10": 0.5 + test, "ndcg@10": 0.5 + test}
    return Gains.of(base, tuned)


def curve(devs: list[float], kept_step: int, losses: list[float] | None = None) -> Curve | None:
    losses = losses or [1.0 - 0.1 * n for n in range(len(devs))]
    points = [Point(10 * n, loss if n else None, dev) for n, (dev, loss) in enumerate(zip(devs, losses, strict=True))]
    return Curve.of(points, kept_step)


def test_gains_are_tuned_minus_base_and_the_gap_is_tuned_on_train_minus_test() -> None:
    found = gains(0.3, 0.1)
    assert (found.train, found.dev, found.test, found.gap) == pytest.approx((0.3, 0.1, 0.1, 0.2))
    assert found.carried_share == pytest.approx(1 / 3)


def test_a_gain_that_carries_over_is_not_overfitting() -> None:
    found = judge(gains(0.3, 0.1), curve([0.5, 0.6, 0.7], 20), **LIMITS)
    assert not found["is_overfitted"]
    assert found["verdict"] == (
        "Not overfitted. nDCG@10 changed by +0.300 on train queries, +0.100 on dev, +0.100 on test: dev has 33% of "
        "the gain on train, at least 25% is asked. Dev was best at the end of training."
    )


@pytest.mark.parametrize("test", [0.05, 0.0, -0.2])
def test_a_gain_on_train_alone_is_overfitting_whatever_the_curve_says(test: float) -> None:
    found = judge(gains(0.4, test), curve([0.5, 0.6, 0.7], 20), **LIMITS)
    assert found["is_overfitted"]
    assert found["verdict"].startswith("Overfitted. ")
    assert "What helps: fewer train.epochs" in found["verdict"]


def test_dev_that_fell_is_told_and_forgiven_where_the_best_checkpoint_is_kept() -> None:
    found = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.6], 10), **LIMITS)
    assert not found["is_overfitted"]
    assert found["dev_decline"] == pytest.approx(0.1)
    assert "best at step 10 (0.700) and fell to 0.600" in found["verdict"]
    assert "the encoder of step 10 is kept." in found["verdict"]


def test_an_encoder_kept_past_the_best_of_dev_is_overfitted() -> None:
    """With the loss falling meanwhile, which is what learning by heart looks like."""
    found = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.6, 0.5], 30), **LIMITS)
    assert found["is_overfitted"]
    assert (
        "while the training loss went on falling, and the encoder of step 30 is kept all the same." in found["verdict"]
    )


def test_a_wrecked_encoder_is_overfitted_even_where_train_fell_with_the_rest() -> None:
    found = judge(gains(-0.5, -0.5), curve([0.5, 0.1, 0.0], 20, [0.0, 3.0, 3.4]), **LIMITS)
    assert found["is_overfitted"]
    assert found["carried_share"] == 0
    assert "best at step 0 (0.500) and fell to 0.000, and the encoder of step 20 is kept" in found["verdict"]


def test_a_small_decline_is_no_overfitting() -> None:
    found = judge(gains(0.3, 0.1), curve([0.5, 0.7, 0.69], 20), **LIMITS)
    assert not found["is_overfitted"]
    assert "all the same, a small loss." in found["verdict"]


def test_without_training_nothing_is_overfitted() -> None:
    for points in (None, curve([0.5], 0)):
        found = judge(gains(0.0, 0.0), points, **LIMITS)
        assert (found["is_overfitted"], found["carried_share"], found["dev_decline"]) == (False, 1, 0)
        assert found["verdict"].startswith("Not overfitted. nDCG@10 changed by +0.000 on train queries")


def test_of_equal_points_the_earlier_is_the_best() -> None:
    found = curve([0.5, 0.7, 0.7], 10)
    assert found is not None
    assert found.best.step == 10
    assert not found.is_kept_past_best
