"""Sentences beside the headline: other measures that changed beyond chance, or a headline measure without room."""

from attune.evaluation.report.markdown import signed
from attune.evaluation.report.verdict import CLAIMS, HeadlineResult
from attune.evaluation.statistics.chance import is_significant
from attune.evaluation.statistics.decision import Status

# in the order in which they are named
ORDER = ("ndcg@10", "mrr@10", "recall@10", "recall@1", "map@100", "recall@5", "recall@20", "recall@50", "recall@100")
MOST = 3  # named; more are counted
SATURATED = 0.9  # of base: a gain has at most a tenth of the scale left, and most queries cannot improve


def other_measures(result: HeadlineResult) -> str:
    """Returns sentences on measures that say something else than the headline's, and on a saturated headline; else "".

    A measure changed beyond chance where its interval excludes 0 and its corrected p-value is significant. Where the
    verdict already claims a gain or a loss, only those that changed the other way are named.
    """
    return " ".join(filter(None, [_changed(result), _saturated(result)]))


def _changed(result: HeadlineResult) -> str:
    claimed = {CLAIMS[Status.PASSED]: 1, CLAIMS[Status.FAILED]: -1}.get(result.answer, 0)
    found = []
    for name in ORDER:
        one = result.paired.get(name)
        if one is None or name == result.headline:
            continue
        is_beyond = not one.ci_low <= 0 <= one.ci_high
        is_beyond &= is_significant(result.corrected[name], result.sensitivity.confidence)
        if is_beyond and one.delta * claimed <= 0:
            found.append(f"{name} {signed(one.delta, 3)} ({signed(one.ci_low, 3)} to {signed(one.ci_high, 3)})")
    if not found:
        return ""
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"Changed beyond chance (Holm-corrected): {', '.join(found[:MOST])}{more}."


def _saturated(result: HeadlineResult) -> str:
    if round(result.base, 9) < SATURATED:
        return ""
    room = f"base leaves {1 - result.base:.3f} to gain"
    others = [name for name in ("ndcg@10", "mrr@10") if name != result.headline]
    return f"{result.headline} is nearly saturated ({room}): read {' and '.join(others)} beside it."
