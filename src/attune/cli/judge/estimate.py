"""The share of mined negatives that are answers, with the exact binomial interval.

The sheet is a simple random sample of the negatives that mining chose, without replacement. The number of answers in it
is hypergeometric, whatever groups the negatives come in, because the share to estimate is that of this very set of
negatives. The binomial interval (Clopper & Pearson 1934, Biometrika 26) covers the share at least as often as its
confidence says, since drawing without replacement varies less. A row that nobody can decide counts as no answer for the
low end and as an answer for the high one.
"""

from collections import Counter
from collections.abc import Sequence

from scipy.stats import binomtest

from attune.cli.judge.sheet import UNDECIDED, YES, Row
from attune.evaluation.report.judged import JudgedShare


def interval(n_answers: int, n_undecided: int, n_judged: int, confidence: float) -> tuple[float, float]:
    """Returns the ends of the interval of the share of answers, at least one row judged."""
    low = binomtest(n_answers, n_judged).proportion_ci(confidence, "exact").low
    high = binomtest(n_answers + n_undecided, n_judged).proportion_ci(confidence, "exact").high
    return float(low), float(high)


def judged_share(rows: Sequence[Row], confidence: float, sample_sha256: str) -> JudgedShare:
    """Returns the estimate from judged rows, at least one; `sample_sha256` names the sample they belong to."""
    counts = Counter(row.is_answer for row in rows)
    n_decided = len(rows) - counts[UNDECIDED]
    low, high = interval(counts[YES], counts[UNDECIDED], len(rows), confidence)
    share = counts[YES] / n_decided if n_decided else None
    return JudgedShare(
        judges(rows), len(rows), counts[YES], counts[UNDECIDED], share, low, high, confidence, sample_sha256
    )


def judges(rows: Sequence[Row]) -> str:
    """Names who judged, in the order of the sheet; with the number of rows where there are several."""
    counts = Counter(row.judged_by or "a person" for row in rows)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{name} ({n})" for name, n in counts.items())
