"""Bridge: a linear map from the vectors of an old index to the space of another encoder, fitted on some documents.

A corpus too large to embed again at once is mapped instead: documents that both encoders have embedded tell how.
(Drift-Adapter, Vejendla 2025, arXiv 2509.23471, maps new queries into the old space instead.) The map is ridge
regression without an intercept; where both spaces have one dimension, of the change of a vector, so that few documents
leave vectors where they were. Its penalty is chosen among PENALTIES by leaving out one document at a time, which needs
no documents beside the sample.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from attune.errors import BadInput
from attune.evaluation.scoring.judgments import Split
from attune.evaluation.scoring.measures import measure
from attune.evaluation.statistics.clusters import by_cluster
from attune.evaluation.statistics.decision import with_one_each
from attune.evaluation.statistics.shares import score_share_interval
from attune.retrieval.grouped import document_search
from attune.runtime.arrays import Float32, Float64, Int64

PENALTIES = tuple(float(10 ** (power / 2)) for power in range(-8, 5))  # of the squared weights; rows have length 1
LEAST_DOCUMENTS = 20  # of a sample
DEPTH, MEASURE = 10, "ndcg@10"


@dataclass(frozen=True)
class Bridge:
    """A linear map of vectors, followed by division by their length.

    Attributes:
        matrix: (old dim, new dim).
        penalty: of the ridge regression.
    """

    matrix: Float64
    penalty: float

    def __call__(self, vectors: Float32) -> Float32:
        """Maps (n, old dim) to (n, new dim), rows of length 1."""
        mapped = vectors @ self.matrix.astype(np.float32)
        unit: Float32 = mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), np.float32(1e-12))
        return unit


def fit_bridge(old: Float32, new: Float32) -> Bridge:
    """Fits the map on documents that both encoders have embedded.

    Args:
        old: (n, old dim), rows of length 1.
        new: (n, new dim), the same documents.

    Raises:
        BadInput: there are too few documents.
    """
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415  takes a second

    if len(old) < LEAST_DOCUMENTS:
        raise BadInput(f"bridge: {len(old)} documents in both indexes, expected {LEAST_DOCUMENTS} or more; embed more")
    is_change = old.shape[1] == new.shape[1]
    target = new.astype(np.float64) - (old if is_change else 0.0)
    fitted = RidgeCV(PENALTIES, fit_intercept=False).fit(old.astype(np.float64), target)
    learned: Float64 = np.asarray(fitted.coef_).reshape(new.shape[1], old.shape[1]).T
    return Bridge(learned + np.eye(len(learned)) if is_change else learned, float(fitted.alpha_))


class Kept(NamedTuple):
    """Dev nDCG@10 before, behind the bridge and after a new index, and the share of the gain that the bridge keeps.

    Attributes:
        old: old queries over old vectors.
        bridged: new queries over mapped vectors.
        new: new queries over new vectors.
        share: of the gain; None where the new encoder gained nothing for certain.
        low: low end of its interval; None as `share`.
        high: high end.
    """

    old: float
    bridged: float
    new: float
    share: float | None
    low: float | None
    high: float | None

    @property
    def words(self) -> str:
        """The share in words; what is known where there is none."""
        scores = f"dev nDCG@10 {self.bridged:.3f}, between {self.old:.3f} before and {self.new:.3f} with a new index"
        if self.share is None or self.low is None or self.high is None:
            return f"{scores}; the new encoder gained nothing for certain that it could keep"
        return f"{scores}: {self.share:.0%} of the gain [{self.low:.0%}, {self.high:.0%}]"


def kept_gain(
    dev: Split,
    queries: tuple[Float32, Float32],
    documents: tuple[Float32, Float32],
    rows: Int64,
    bridge: Bridge,
    confidence: float,
    threads: int,
) -> Kept:
    """Scores on dev what the bridge keeps of the gain.

    Args:
        dev: the split.
        queries: (n_queries, dim) by the old and by the new encoder.
        documents: (n_rows, dim) by the old and by the new encoder.
        rows: (n_rows,) document of each row: several where documents are embedded in passages.
        bridge: maps old vectors, those of documents that it was fitted on included.
        confidence: of the interval.
        threads: CPU threads.
    """

    def values(of_queries: Float32, index: Float32) -> Float64:
        scores, ranked = dev.ranked(document_search(of_queries, index, rows, threads), DEPTH)
        return measure(ranked, dev.judgments, scores)[MEASURE]

    old, new = (values(of_queries, index) for of_queries, index in zip(queries, documents, strict=True))
    bridged = values(queries[1], bridge(documents[0]))
    means = float(old.mean()), float(bridged.mean()), float(new.mean())
    clusters = np.unique(dev.cluster_ids.to_numpy(), return_inverse=True)[1].astype(np.int64)
    is_one = clusters.max(initial=0) == 0
    if is_one or with_one_each(by_cluster(new - old, clusters)).interval(confidence)[0] <= 0:
        return Kept(*means, None, None, None)
    low, high = score_share_interval(bridged - old, new - old, clusters, confidence)
    return Kept(*means, (means[1] - means[0]) / (means[2] - means[0]), low, high)
