"""Verdict on overfitting, with its figures.

Either of two signs is enough. First, a gain on train queries that does not carry over to dev; train, dev and test are
scored over the same corpus, and test is reported but decides nothing, since the remedy is to train again. Second, a
dev score that falls after its best point, if a later checkpoint is kept; where the best checkpoint is kept, the fall
is only reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.tuning.curve import Point

MEASURE = "ndcg@10"
MIN_TRAIN_GAIN = 0.01  # a smaller gain counts as none, as dev gain / train gain would be noise


@dataclass(frozen=True)
class Gains:
    """nDCG@10 of tuned minus base on train (sample), dev and test; `gap` is tuned on train minus tuned on test."""

    train: float
    dev: float
    test: float
    gap: float

    @classmethod
    def of(cls, base: Mapping[str, Any], tuned: Mapping[str, Any]) -> "Gains":
        """Reads the receipts of evaluate@base and evaluate@tuned."""
        train, dev, test = (tuned[key] - base[key] for key in (f"train_{MEASURE}", f"dev_{MEASURE}", MEASURE))
        return cls(train, dev, test, tuned[f"train_{MEASURE}"] - tuned[MEASURE])

    @property
    def carried_share(self) -> float:
        """Gain on dev divided by gain on train; if train gained under 0.01: 0 if dev lost over 0.01, else 1."""
        if self.train < MIN_TRAIN_GAIN:
            return 0.0 if self.dev < -MIN_TRAIN_GAIN else 1.0
        return self.dev / self.train


@dataclass(frozen=True)
class Curve:
    """Points of the training curve where dev was best and last, whether the loss fell in between, and the kept step."""

    best: Point
    last: Point
    is_loss_falling: bool
    kept_step: int

    @classmethod
    def of(cls, points: Sequence[Point], kept_step: int) -> "Curve | None":
        """Reads the points of a training curve; None where there was no training."""
        measured = [point for point in points if point.dev is not None]
        if len(measured) < 2:
            return None
        best = max(measured, key=lambda point: (point.dev, -point.step))
        losses = [point.loss for point in points if point.loss is not None and point.step >= best.step]
        return cls(best, measured[-1], len(losses) > 1 and losses[-1] < losses[0], kept_step)

    @property
    def decline(self) -> float:
        """Fall of dev from its best point to its last."""
        return (self.best.dev or 0.0) - (self.last.dev or 0.0)

    @property
    def is_kept_past_best(self) -> bool:
        """True if the kept encoder is of a step after dev's best."""
        return self.kept_step > self.best.step


def judge(gains: Gains, curve: Curve | None, min_carried_share: float, max_decline: float) -> dict[str, Any]:
    """Returns the figures, `is_overfitted`, and the verdict in words.

    Args:
        gains: tuned minus base on train, dev and test.
        curve: of the training; None where there was none.
        min_carried_share: overfitted if dev gain / train gain is below this.
        max_decline: overfitted if dev fell by more than this after its best point and a later encoder is kept.
    """
    is_not_carried = gains.carried_share < min_carried_share
    is_past_best = curve is not None and curve.is_kept_past_best and curve.decline > max_decline
    is_overfitted = is_not_carried or is_past_best
    words = [f"{'Overfitted' if is_overfitted else 'Not overfitted'}.", _carried(gains, min_carried_share)]
    words.append(_dev(curve, is_past_best))
    if is_overfitted:
        words.append("Remedies: fewer train.epochs, a lower train.learning_rate, train.keep: best, more data.")
    return {
        "train_gain": gains.train,
        "dev_gain": gains.dev,
        "test_gain": gains.test,
        "gap": gains.gap,
        "carried_share": gains.carried_share,
        "dev_decline": curve.decline if curve else 0.0,
        "is_overfitted": is_overfitted,
        "verdict": " ".join(filter(None, words)),
    }


def _carried(gains: Gains, least: float) -> str:
    measured = (
        f"nDCG@10 changed by {gains.train:+.3f} on train queries, {gains.dev:+.3f} on dev, {gains.test:+.3f} on test"
    )
    if gains.train < MIN_TRAIN_GAIN:
        return f"{measured}: no gain on train{', a loss on dev' if gains.carried_share < 1 else ''}."
    return f"{measured}: dev has {gains.carried_share:.0%} of the gain on train, at least {least:.0%} is asked."


def _dev(curve: Curve | None, is_past_best: bool) -> str:
    if curve is None:
        return ""
    if curve.decline <= 0:
        return "Dev was best at the end of training."
    loss = " while the training loss kept falling" if curve.is_loss_falling else ""
    fell = f"Dev was best at step {curve.best.step} ({curve.best.dev:.3f}) and fell to {curve.last.dev:.3f}{loss}"
    if not curve.is_kept_past_best:
        return f"{fell}; the encoder of step {curve.kept_step} is kept."
    tolerated = "" if is_past_best else "; the decline is within tolerance"
    return f"{fell}, and the later encoder of step {curve.kept_step} is kept{tolerated}."
