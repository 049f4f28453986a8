"""How far mined negatives can be trusted: what was kept and rejected, how the scores lie, how many may be answers."""

import numpy as np

from attune.tuning.mining.candidates import FloatArray, Scorer, cosines
from attune.tuning.mining.false_negatives import Hidden, answering_like_queries, hidden_answers
from attune.tuning.mining.mine import Mined, Recipe, Task
from attune.tuning.mining.rules import REASONS, ceilings

PERCENTILES = (5, 25, 50, 75, 95)


def figures(task: Task, recipe: Recipe, mined: Mined, score: Scorer) -> dict[str, int | float]:
    """What was kept and rejected by which rule, how the scores lie, and how many negatives may be answers."""
    found, verdicts = mined.found, mined.verdicts
    kept = found.scores[verdicts.has("kept")]
    random = mined.random()
    ceiling = np.minimum(*ceilings(found.lowest_positive, recipe.rules()))[random.queries]
    hidden = Hidden.of(task.positives, mined.positive_scores, task.duplicate_of, recipe.seed)
    return {
        "index_recall": mined.dense.recall,
        "n_candidates": int((found.pool.rows >= 0).sum()),
        **{f"n_{reason}": verdicts.count(reason) for reason in REASONS},
        "n_kept_from_lexical": int(verdicts.from_lexical.sum()),
        "n_filled_at_random": len(random.rows),
        "n_filled_too_close": int((score(random) > ceiling).sum()),
        "n_given_by_user": len(task.own.rows),
        "mean_lowest_positive_score": float(found.lowest_positive.mean()),
        "mean_negative_score": float(kept.mean()) if kept.size else 0.0,
        **_percentiles("lowest_positive_score", found.lowest_positive),
        **_percentiles("negative_score", kept),
        **hidden_answers(found, recipe.rules(), mined.slots, hidden, task.duplicate_of),
        **answering_like_queries(mined.kept(), task.positives, cosines(task.query_vectors, task.query_vectors)),
    }


def _percentiles(name: str, scores: FloatArray) -> dict[str, float]:
    values = np.percentile(scores, PERCENTILES) if scores.size else np.zeros(len(PERCENTILES))
    return {f"{name}_p{percentile:02}": float(value) for percentile, value in zip(PERCENTILES, values, strict=True)}
