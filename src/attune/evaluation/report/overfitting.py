"""Did the encoder learn the domain, or its training rows by heart? A verdict in words, with the evidence.

Two signs, of which one is enough. A gain on train queries that does not carry over to dev: train, dev and test are
scored alike, over the same corpus, and test is told but decides nothing, since the remedy is to train again. And a dev
score that falls behind its best point while training goes on: harmless where the best checkpoint is kept, and then only
told; overfitting where the last one is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.tuning.curve import Point

MEASURE = "ndcg@10"
NOTHING = 0.01  # a smaller gain on train is no learning, and its share on test is noise


@dataclass(frozen=True)
class Gains:
    """nDCG@10 of tuned minus base on a sample of train, on dev and on test; and how far tuned is ahead on train."""

    train: float
    dev: float
    test: float
    gap: float

    @classmethod
    def of(cls, base: Mapping[str, Any], tuned: Mapping[str, Any]) -> "Gains":
        """From the receipts of evaluate@base and evaluate@tuned."""
        train, dev, test = (tuned[key] - base[key] for key in (f"train_{MEASURE}", f"dev_{MEASURE}", MEASURE))
        return cls(train, dev, test, tuned[f"train_{MEASURE}"] - tuned[MEASURE])

    @property
    def carried_share(self) -> float:
        """The share of the gain on train that dev has, too; where train hardly gained 1, or 0 if dev lost."""
        if self.train < NOTHING:
            return 0.0 if self.dev < -NOTHING else 1.0
        return self.dev / self.train


@dataclass(frozen=True)
class Curve:
    """Where dev was best while training, where it ended, whether the loss fell in between, and which step is kept."""

    best: Point
    last: Point
    is_loss_falling: bool
    kept_step: int

    @classmethod
    def of(cls, points: Sequence[Point], kept_step: int) -> "Curve | None":
        """From the points of a training curve; None where there was no training."""
        seen = [point for point in points if point.dev is not None]
        if len(seen) < 2:
            return None
        best = max(seen, key=lambda point: (point.dev, -point.step))
        losses = [point.loss for point in points if point.loss is not None and point.step >= best.step]
        return cls(best, seen[-1], len(losses) > 1 and losses[-1] < losses[0], kept_step)

    @property
    def decline(self) -> float:
        """How far dev has fallen from its best point to its last."""
        return (self.best.dev or 0.0) - (self.last.dev or 0.0)

    @property
    def is_kept_past_best(self) -> bool:
        """Whether the encoder is that of a step after dev's best."""
        return self.kept_step > self.best.step


def judge(gains: Gains, curve: Curve | None, min_carried_share: float, max_decline: float) -> dict[str, Any]:
    """The figures, `is_overfitted`, and the verdict in words.

    Args:
        gains: tuned against base on train, dev and test.
        curve: of the training; None where there was none.
        min_carried_share: less of the gain on train that dev has, too, is called overfitted.
        max_decline: more than this lost on dev since its best point is called overfitted, if that encoder is kept.
    """
    is_by_heart = gains.carried_share < min_carried_share
    is_past_best = curve is not None and curve.is_kept_past_best and curve.decline > max_decline
    is_overfitted = is_by_heart or is_past_best
    words = [f"{'Overfitted' if is_overfitted else 'Not overfitted'}.", _carried(gains, min_carried_share)]
    words.append(_dev(curve, is_past_best))
    if is_overfitted:
        words.append("What helps: fewer train.epochs, a lower train.learning_rate, train.keep: best, more data.")
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
    if gains.train < NOTHING:
        return f"{measured}: train gained nothing{' and dev lost' if gains.carried_share < 1 else ''}."
    return f"{measured}: dev has {gains.carried_share:.0%} of the gain on train, at least {least:.0%} is asked."


def _dev(curve: Curve | None, is_past_best: bool) -> str:
    if curve is None:
        return ""
    if curve.decline <= 0:
        return "Dev was best at the end of training."
    loss = " while the training loss went on falling" if curve.is_loss_falling else ""
    fell = f"Dev was best at step {curve.best.step} ({curve.best.dev:.3f}) and fell to {curve.last.dev:.3f}{loss}"
    if not curve.is_kept_past_best:
        return f"{fell}; the encoder of step {curve.kept_step} is kept."
    all_the_same = "all the same" if is_past_best else "all the same, a small loss"
    return f"{fell}, and the encoder of step {curve.kept_step} is kept {all_the_same}."
