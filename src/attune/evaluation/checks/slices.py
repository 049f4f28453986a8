"""Slices of the test queries."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, check
from attune.evaluation.statistics.decision import Status


@check("ATT005", "slices of the queries", "metrics/report.json", fails_gate=False, on_top=True)
def slices(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where queries of one kind (length, group, stratum ...) got worse in nDCG@10 by an exact test that is
    corrected for all slices, however few they are. Passes where the interval of every slice excludes a loss of
    `report.max_slice_loss`, and is undecided otherwise. Warns only: what one slice may lose for the gain of the others
    is yours to say."""
    yield Outcome(Status(facts.of("report", "slice_counts", "outcome")), facts.of("report", "slice_counts", "sentence"))
