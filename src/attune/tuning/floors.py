"""Floors of merge: least shares of the base's nDCG@10 on general text and on near-domain tasks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import isfinite
from typing import NamedTuple

from attune.runtime.arrays import Float64
from attune.tuning.candidates import Round
from attune.tuning.choice import Refusal
from attune.tuning.curve import BASE, Candidate
from attune.tuning.dev import RetrievalScorer, RetrievalTask
from attune.tuning.estimates import Estimate, kept
from attune.tuning.interpolation import Interpolation


class Floors(NamedTuple):
    """Least shares of the base's score: on general text, and on each near-domain task."""

    retention: float
    near_domain: float


class OtherScores(NamedTuple):
    """nDCG@10 of a candidate beside dev, and its share of the base's: on general text and on each near-domain task.

    Attributes:
        scores: nDCG@10 by task; general text is "".
        kept: as a share of the base's, by task.
    """

    scores: dict[str, float]
    kept: dict[str, Estimate]


GENERAL = ""  # name of general text among tasks


@dataclass
class OtherTasks:
    """Scores candidates on general text and near-domain tasks, each once; a text of several tasks is encoded once.

    Attributes:
        tasks: by name; general text is `GENERAL`.
        encoders: of the base.
        of_round: checkpoints that candidates are made of.
        precision: of matrix products.
        scored: results so far.
    """

    tasks: Mapping[str, RetrievalTask]
    encoders: Interpolation
    of_round: Round
    precision: str
    scored: dict[Candidate, OtherScores] = field(default_factory=dict)

    @cached_property
    def _scorers(self) -> dict[str, RetrievalScorer]:
        return {name: RetrievalScorer(task, self.precision) for name, task in self.tasks.items()}

    @cached_property
    def _of_base(self) -> dict[str, Float64]:
        return self._values(BASE)

    def _values(self, candidate: Candidate) -> dict[str, Float64]:
        model = self.encoders.at({} if candidate == BASE else self.of_round.change(candidate), candidate.share)
        texts = sorted({text for scorer in self._scorers.values() for text in scorer.documents})
        row_of = {text: row for row, text in enumerate(texts)}
        vectors = self._scorers[GENERAL].embed_documents(model, texts)
        return {
            name: scorer(model, vectors[[row_of[text] for text in scorer.documents]])
            for name, scorer in self._scorers.items()
        }

    def of(self, candidate: Candidate) -> OtherScores:
        """Returns the scores of a candidate."""
        if candidate not in self.scored:
            values = self._of_base if candidate == BASE else self._values(candidate)
            self.scored[candidate] = OtherScores(
                {name: float(own.mean()) for name, own in values.items()},
                {name: kept(own, self._of_base[name], self._scorers[name].clusters) for name, own in values.items()},
            )
        return self.scored[candidate]

    def missed(self, candidate: Candidate, floors: Floors) -> Refusal:
        """Returns which floor a candidate misses by more than a standard error, general text first."""
        shares = self.of(candidate).kept
        if is_missed(shares[GENERAL], floors.retention):
            return Refusal.GENERAL
        near = (share for name, share in shares.items() if name != GENERAL)
        return Refusal.NEAR_DOMAIN if any(is_missed(share, floors.near_domain) for share in near) else Refusal.NONE


def is_missed(share: Estimate, floor: float) -> bool:
    """Tells whether a share of the base's score is below the floor by more than its standard error.

    Where all queries are one cluster, there is no such error, and the share itself decides.
    """
    return share.value + (share.error if isfinite(share.error) else 0.0) < floor
