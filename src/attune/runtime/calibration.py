"""Calibration: a score as the probability that a document with this score is relevant, learned from judged hits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput
from attune.runtime import folders, rules
from attune.runtime.arrays import Float64
from attune.runtime.manifest import MANIFEST, REMEDY, read_manifest
from attune.runtime.passages import Hit

KEY = "calibration"  # of the manifest
MISSING = "give the folder of an exported encoder, such as models/onnx"
OF_MAP = {"scores": rules.rows(rules.number(-1e6, 1e6), 1), "probabilities": rules.rows(rules.number(0, 1), 1)}
RULE = rules.record({KEY: rules.record(OF_MAP, {"cutoff": rules.or_null(rules.number(-1e6, 1e6))})})


@dataclass(frozen=True)
class Calibration:
    """A map that never falls from score to probability, linear between its points and constant beyond them.

    Attributes:
        scores: (n,), ascending.
        probabilities: (n,), of the scores.
        cutoff: score from which on the first hit is right with the promised precision; None where none can be promised.
        encoder: fingerprint of the encoder whose scores these are; empty where none was given.
    """

    scores: Float64
    probabilities: Float64
    cutoff: float | None = None
    encoder: str = ""

    @classmethod
    def load(cls, folder: Path | str) -> "Calibration":
        """Reads the map of an encoder's scores from its folder's manifest.

        Raises:
            BadInput: the manifest is missing, or has no calibration or none that rises.
        """
        place = Path(folder) / MANIFEST
        content = folders.read_json(Path(folder), MANIFEST, RULE, "a manifest with a calibration", MISSING, REMEDY)[KEY]
        scores, probabilities = (np.array(content[name], dtype=np.float64) for name in OF_MAP)
        rises = (np.diff(scores) > 0).all() and (np.diff(probabilities) >= 0).all()
        if len(scores) != len(probabilities) or not rises:
            raise BadInput(f"{place}: calibration does not rise from score to probability; {REMEDY}")
        return cls(scores, probabilities, content.get("cutoff"), read_manifest(Path(folder)).fingerprint())

    def probability(self, scores: NDArray[np.floating]) -> Float64:
        """Returns the probability that a document with each score is relevant, of the same shape."""
        probabilities: Float64 = np.interp(scores, self.scores, self.probabilities)
        return probabilities

    def score_of(self, probability: float) -> float:
        """Returns the least score whose documents are relevant with this probability or more; infinity if none are."""
        at_least = np.flatnonzero(self.probabilities >= probability)
        if not len(at_least):
            return float("inf")
        place = int(at_least[0])
        if not place:
            return float("-inf")
        low, high = self.probabilities[place - 1 : place + 1]
        share = (probability - low) / (high - low)
        return float(self.scores[place - 1] + share * (self.scores[place] - self.scores[place - 1]))


def probable(
    hits: Sequence[Sequence[Hit]], calibration: Calibration, min_probability: float, promised: bool = False
) -> list[list[Hit]]:
    """Returns the hits of each query with their probabilities, without those below the least one; perhaps none.

    Args:
        hits: of each query, best first.
        calibration: of the encoder's scores.
        min_probability: 0 keeps all.
        promised: a query whose first hit scores less than the promised cutoff finds nothing.

    Raises:
        BadInput: a cutoff is asked for, and the calibration promises none.
    """
    if promised and calibration.cutoff is None:
        raise BadInput("the calibration promises no cutoff; take min_probability, or a lower calibrate.precision")
    least = calibration.cutoff if promised and calibration.cutoff is not None else -np.inf
    kept: list[list[Hit]] = []
    for own in hits:
        if not own or own[0].score < least:
            kept.append([])
            continue
        probabilities = calibration.probability(np.array([hit.score for hit in own], dtype=np.float64)).tolist()
        rated = [hit._replace(probability=one) for hit, one in zip(own, probabilities, strict=True)]
        kept.append([hit for hit, one in zip(rated, probabilities, strict=True) if one >= min_probability])
    return kept
