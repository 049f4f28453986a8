"""Test queries that training has seen, or nearly."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.gain import counts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import worded
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.statistics.decision import Change, Status, decide


@check("ATT008", "leaks by words", "metrics/report.json", on_top=True)
def leaks_by_words(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a larger share of the test queries than `gate.max_leak_share` is in train or dev, exactly or nearly,
    itself or by a relevant document. Let attune split, or mend the split that you gave."""
    n, clean = counts(facts)
    share = (n - clean) / n if n else 1.0
    words = f"{n - clean:,} of {n:,} test queries leak ({100 * share:.3g}%)"
    limit = f"at most {100 * limits.max_leak_share:.3g}% (gate.max_leak_share)"
    yield judged(share <= limits.max_leak_share, f"{words}; {limit}")


@check("ATT009", "gain without leaks by meaning", "metrics/report.json", fails_gate=False)
def leaks_by_meaning(facts: Facts, limits: GateParams) -> Outcomes:
    """Recall@10 without the test queries that are close to train or dev by the base's embeddings, or in a document's
    other form. Passes where it still gains, by interval and test, fails where it loses; if a gain vanishes here, it
    came from leakage. Warns only, because nearest neighbours count siblings on the same topic as well as
    paraphrases."""
    n = int(facts.number("report", "n_test_queries"))
    n_close = n - int(facts.get("report", "without_leaks", "any", "n_queries", default=n))
    keys = [facts.get("report", "without_leaks", "any", key) for key in ("delta", "ci_low", "ci_high", "p_holm")]
    words = f"{n_close:,} of {n:,} test queries are close to train or dev by meaning or in another form"
    if not n_close:
        yield Outcome(Status.PASSED, words)
    elif None in keys:
        yield Outcome(Status.UNDECIDED, f"{words}; too few are left to compare")
    else:
        change = Change(*keys)
        yield Outcome(decide(change, 0, limits.confidence), f"{words}; without them recall@10 {worded(change)}")
