"""Verdict on overfitting, with its figures: overfitted, not overfitted, or cannot tell.

What was learnt must carry over twice: dev must keep a share of train's gain, or else train was learnt by heart; test
must keep a share of dev's gain, or else the candidate was chosen for the chance of its dev scores. Train, dev and test
are scored over the same corpus. Both shares have intervals (`statistics.shares`) that allow for dev having chosen the
best of n candidates (checkpoints at shares of their weights, and averages), and the training before among probed rates
and restarts: all looks at dev count. Certainly too little of either is overfitting; not overfitted needs certainty of
both (both at once need no correction for being two; Berger, 1982, Technometrics 24). Overfitting shows, too, in a dev
score that fell by more than chance explains after its best point, if the last checkpoint is kept as it is
(`merge.keep: last`); else the fall is only reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from scipy.special import stdtrit

from attune.evaluation.report.choice import candidate_words
from attune.evaluation.report.gains import SPLITS, Gains
from attune.evaluation.report.markdown import number
from attune.evaluation.statistics.decision import with_one_each
from attune.evaluation.statistics.shares import UNMEASURED, KeptShare, kept_share
from attune.tuning.curve import BASE, Candidate, Point

REMEDIES = "Remedies: fewer train.epochs, a lower train.learning_rate, merge.keep: best, more data."


class Status(StrEnum):
    """Outcome of the verdict."""

    OVERFITTED = "overfitted"
    NOT_OVERFITTED = "not overfitted"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Curve:
    """Points of the training curve where dev was best and last, whether the loss fell in between, and what was kept.

    Attributes:
        best: point where dev was best, the first of equal ones.
        last: last point where dev was measured.
        is_loss_falling: whether the training loss fell from the best point on.
        kept: candidate that ships.
        n_candidates: candidates that dev chose it from, base among them; 1 where dev was not asked (merge.keep: last).
        n_checkpoints: points where dev was measured, the start of training among them.
        n_training_looks: looks at dev that chose the training: probes of rates at their shares, and restarts.
    """

    best: Point
    last: Point
    is_loss_falling: bool
    kept: Candidate
    n_candidates: int
    n_checkpoints: int
    n_training_looks: int = 0

    @classmethod
    def of(
        cls, points: Sequence[Point], kept: Candidate, n_candidates: int, n_training_looks: int = 0
    ) -> "Curve | None":
        """Reads the points of a training curve; None where there was no training."""
        measured = [point for point in points if point.dev is not None]
        if len(measured) < 2:
            return None
        best = max(measured, key=lambda point: (point.dev, -point.step))
        losses = [point.loss for point in points if point.loss is not None and point.step >= best.step]
        is_falling = len(losses) > 1 and losses[-1] < losses[0]
        return cls(best, measured[-1], is_falling, kept, n_candidates, len(measured), n_training_looks)

    @property
    def decline(self) -> float:
        """Fall of dev from its best point to its last."""
        return (self.best.dev or 0.0) - (self.last.dev or 0.0)

    @property
    def is_kept_past_best(self) -> bool:
        """True if the last checkpoint is kept with all of its weights, although dev was best before."""
        return self.kept == Candidate(self.last.step, 1, 1.0) and self.last.step > self.best.step


@dataclass(frozen=True)
class Limits:
    """Limits of the verdict.

    Attributes:
        min_carried_share: share of train's gain that dev must keep, and of dev's gain that test must.
        max_decline: accepted fall of dev after its best point, where a later encoder is kept.
        confidence: of the intervals.
    """

    min_carried_share: float
    max_decline: float
    confidence: float

    @property
    def tail(self) -> float:
        """Probability of error at one end of an interval."""
        return (1 - self.confidence) / 2


@dataclass(frozen=True)
class Overfitting:
    """Gains on train, dev and test, the training curve (None: no training), and what follows from them."""

    gains: Gains
    curve: Curve | None
    limits: Limits

    @property
    def n_looks(self) -> int:
        """Number of looks at dev that led to the kept encoder: candidates, probes and restarts; 1 without training."""
        return 1 if self.curve is None else self.curve.n_candidates + self.curve.n_training_looks

    @property
    def is_untrained(self) -> bool:
        """True if nothing of a training was kept, so that tuned is base."""
        is_kept = self.curve is not None and self.curve.kept != BASE
        return not is_kept and all(gain.is_unchanged for gain in self.gains.values())

    @property
    def dev_share(self) -> KeptShare:
        """Share of train's gain that dev keeps; the best of n flatters dev."""
        least, tail = self.limits.min_carried_share, self.limits.tail
        return kept_share(self.gains["dev"].sums, self.gains["train"].sums, least, (tail / self.n_looks, tail))

    @property
    def test_share(self) -> KeptShare:
        """Share of dev's gain that test keeps; the best of n makes dev's gain too hard to keep."""
        least, tail = self.limits.min_carried_share, self.limits.tail
        return kept_share(self.gains["test"].sums, self.gains["dev"].sums, least, (tail, tail / self.n_looks))

    @property
    def excess_decline(self) -> float:
        """Fall of dev beyond the accepted one, where an encoder past the best point is kept; else 0."""
        if self.curve is None or not self.curve.is_kept_past_best:
            return 0.0
        return max(0.0, self.curve.decline - self.limits.max_decline)

    @property
    def is_decline_certain(self) -> bool:
        """True if chance does not explain the fall of dev beyond the accepted one.

        The curve holds means only, so the error is that of dev's gain, which two checkpoints of one training hardly
        exceed; the best point was chosen among all.
        """
        dev = self.gains["dev"].sums
        if self.curve is None or dev.n_clusters < 2:
            return False
        t = -float(stdtrit(dev.n_clusters - 1, self.limits.tail / self.curve.n_checkpoints))
        return self.excess_decline > t * float(with_one_each(dev).error)

    @property
    def status(self) -> Status:
        """Outcome."""
        shares = (self.dev_share, self.test_share)
        if self.is_untrained:
            return Status.NOT_OVERFITTED
        if any(share.is_lost for share in shares) or self.is_decline_certain:
            return Status.OVERFITTED
        is_carried = all(share.is_kept for share in shares) and not self.excess_decline
        return Status.NOT_OVERFITTED if is_carried else Status.CANNOT_TELL

    @property
    def verdict(self) -> str:
        """Verdict in words, which begin with the status and a full stop."""
        words = [f"{self.status.capitalize()}.", self._gained(), *self._shares(), self._decline()]
        if self.status is Status.OVERFITTED:
            words.append(REMEDIES)
        return " ".join(filter(None, words))

    def _gained(self) -> str:
        train, dev, test = (self.gains[split].mean for split in SPLITS)
        return f"nDCG@10 changed by {train:+.3f} on train queries, {dev:+.3f} on dev, {test:+.3f} on test."

    def _shares(self) -> list[str]:
        if self.is_untrained:
            return ["No step of a training was kept: tuned scores as base does."]
        pairs = (("dev", "train", self.dev_share), ("test", "dev", self.test_share))
        words = [self._share(split, of, share) for split, of, share in pairs]
        least = f"at least {self.limits.min_carried_share:.0%} of each is required"
        return [*words, f"In brackets: {self.limits.confidence:.0%} intervals; {self._looks()}{least}."]

    def _looks(self) -> str:
        """Returns what dev chose, and from how many, in words; "" where it chose nothing."""
        if self.curve is None or self.n_looks == 1:
            return ""
        n, n_training = self.curve.n_candidates, self.curve.n_training_looks
        chosen = [f"the best of {number(n)} candidates"] if n > 1 else []
        looks = f"{number(n_training)} look{'' if n_training == 1 else 's'} at rates and restarts"
        chosen += [f"the training by {looks}"] if n_training else []
        return f"dev chose {' and '.join(chosen)}, which these allow for; "

    def _share(self, split: str, of: str, share: KeptShare) -> str:
        if share == UNMEASURED:
            return f"What {split} keeps of {of}'s gain cannot be told from a single cluster of queries."
        if share.value is None:
            sign = f", but {split} gained" if share.is_kept else f", and {split} lost" if share.is_lost else ""
            return f"{of.capitalize()} may have gained nothing of which {split} could keep a share{sign}."
        text = f"{split.capitalize()} keeps {share.value:.0%} of {of}'s gain [{_end(share.low)}, {_end(share.high)}]"
        if share.is_kept or share.is_lost:
            return f"{text}{', enough' if share.is_kept else ', certainly too little'}."
        n = self.gains[split].n_queries
        return f"{text}: {number(n)} {split} {'query is' if n == 1 else 'queries are'} too few to tell."

    def _decline(self) -> str:
        if self.curve is None:
            return ""
        if self.curve.decline <= 0:
            return "Dev was best at the end of training."
        best, last, kept = self.curve.best, self.curve.last, candidate_words(self.curve.kept)
        loss = " while the training loss kept falling" if self.curve.is_loss_falling else ""
        fell = f"Dev was best at step {best.step} ({best.dev:.3f}) and fell to {last.dev:.3f}{loss}"
        if not self.curve.is_kept_past_best:
            return f"{fell}; {kept} is kept."
        tolerated = "; that may be chance" if self.excess_decline else "; the decline is within tolerance"
        return f"{fell}, and {kept} is kept{'' if self.is_decline_certain else tolerated}."


def judge(gains: Gains, curve: Curve | None, limits: Limits) -> dict[str, Any]:
    """Returns the section `overfitting` of report.json: figures, `status`, `is_overfitted`, and the verdict in words.

    Shares and ends of their intervals are null where they are open.
    """
    judged = Overfitting(gains, curve, limits)
    dev, test = judged.dev_share, judged.test_share
    return {
        **{f"{split}_gain": gains[split].mean for split in SPLITS},
        "gap": gains["train"].tuned - gains["test"].tuned,
        "carried_share": dev.value,
        "carried_share_low": dev.low,
        "carried_share_high": dev.high,
        "test_carried_share": test.value,
        "test_carried_share_low": test.low,
        "test_carried_share_high": test.high,
        "n_candidates": curve.n_candidates if curve else 1,
        "n_looks": judged.n_looks,
        "dev_decline": curve.decline if curve else 0.0,
        "status": str(judged.status),
        "is_overfitted": judged.status is Status.OVERFITTED,
        "verdict": judged.verdict,
    }


def _end(share: float | None) -> str:
    return "open" if share is None else f"{share:.0%}"
