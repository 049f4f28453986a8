"""Tuned against the champion, whatever grew since its release."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.gain import COMPARED, REPORT
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import loss_outcome, worded
from attune.evaluation.checks.record import Outcomes, check
from attune.evaluation.statistics.decision import Change


@check("ATT046", "regression against the champion", REPORT)
def against_champion(facts: Facts, limits: GateParams) -> Outcomes:
    """No measure of the tuned encoder may be lower than the champion's by more than `gate.margin`, on today's test.
    The champion is the encoder released earlier that `evaluate.champion` names; it is scored on the test queries that
    its training cannot have seen, by the hashes in its folder, so that new data do not end the comparison. Passes,
    fails and is undecided as ATT007. Not applicable without a champion."""
    champion = facts.get("report", "champion", default={})
    for measure in COMPARED if champion else ():
        at = ("report", "champion", "paired", measure)
        delta, low, high, p = (facts.number(*at, key) for key in ("delta", "ci_low", "ci_high", "p_holm"))
        change = Change(delta, low, high, p)
        n = int(facts.number("report", "champion", "n_queries"))
        n_clusters = int(facts.number("report", "champion", "n_clusters"))
        left = facts.number("report", "champion", "n_left_out")
        words = f"{measure} {worded(change)} against {champion['name']} on {n:,} queries ({left:,.0f} left out)"
        yield loss_outcome(words, change, None, limits.margin, (n, n_clusters), limits)
