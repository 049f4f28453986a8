"""The choice of the encoder that ships: by dev, among base and all candidates that training left.

A candidate is a checkpoint, or the average of the last ones, at a share of its weights between base and tuned. The base
is one, too. It wins unless a candidate is better on dev by more than one standard error of their paired difference, as
the one-standard-error rule takes the simplest model that is as good as the best (Breiman et al. 1984, Classification
and Regression Trees).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from attune.tuning.curve import BASE, Candidate
from attune.tuning.estimates import TOLERANCE, Estimate


class Scored(NamedTuple):
    """A candidate, its mean nDCG@10 on dev, and its gain there over the base."""

    candidate: Candidate
    dev: float
    gain: Estimate

    @property
    def is_beyond_noise(self) -> bool:
        """True if the gain exceeds one standard error."""
        return self.gain.value > self.gain.error + TOLERANCE


class Refusal(StrEnum):
    """Why a candidate was not taken; `NONE` where the chosen one is better."""

    NONE = ""
    NOISE = "within noise"
    GENERAL = "general text"
    NEAR_DOMAIN = "near domain"


@dataclass(frozen=True)
class Choice:
    """The candidate that ships, and the best of the others on dev.

    Attributes:
        chosen: `BASE` where no candidate is better than it, or none meets the floors.
        next: best on dev of the candidates that were not chosen; None without any.
        refusal: why the next one was not taken.
    """

    chosen: Candidate
    next: Candidate | None
    refusal: Refusal


def choose(
    scored: Sequence[Scored], missed_floor: Callable[[Candidate], Refusal], min_gain_kept: float = 1.0
) -> Choice:
    """Chooses the best candidate on dev that beats the base by more than noise and meets the floors; else the base.

    Of equal ones the smaller share wins, then the earlier step.

    Args:
        scored: all candidates but the base.
        missed_floor: the floor that a candidate misses, `Refusal.NONE` if none; called for few of them, best first.
        min_gain_kept: share of the best candidate's gain with which a smaller share of the weights is preferred.
    """
    order = sorted(scored, key=lambda one: (-round(one.dev, 6), one.candidate.share, *one.candidate[:2]))
    refusals: dict[Candidate, Refusal] = {}
    best = _first(order, missed_floor, refusals)
    chosen = best
    if best is not None and min_gain_kept < 1:
        least = min_gain_kept * best.gain.value - TOLERANCE
        enough = [one for one in order if one.gain.value >= least]
        chosen = _first(sorted(enough, key=lambda one: one.candidate.share), missed_floor, refusals)
    others = [one for one in order if one is not chosen]
    if not others:
        return Choice(chosen.candidate if chosen else BASE, None, Refusal.NONE)
    after = others[0]
    is_better = after.gain.value > (chosen.gain.value if chosen else 0)
    is_noise = is_better and not after.is_beyond_noise
    return Choice(
        chosen.candidate if chosen else BASE,
        after.candidate,
        refusals.get(after.candidate, Refusal.NOISE if is_noise else Refusal.NONE),
    )


def _first(
    order: Sequence[Scored], missed_floor: Callable[[Candidate], Refusal], refusals: dict[Candidate, Refusal]
) -> Scored | None:
    """Returns the first that beats the base and meets the floors; notes the floors that those before it miss."""
    for one in order:
        if not one.is_beyond_noise:
            continue
        if one.candidate not in refusals:
            refusals[one.candidate] = missed_floor(one.candidate)
        if not refusals[one.candidate]:
            return one
    return None
