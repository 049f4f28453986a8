"""Queries that stand in another split than at a revision."""

from attune.data.assignments import moves, read_assignments
from attune.evaluation.checks.facts import Facts, Missing
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcomes, check, judged
from attune.evaluation.checks.revision import snapshot

FILE = "metrics/assignments.csv"


@check("ATT047", "queries that moved", "revision", fails_gate=False)
def moved(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a query of the revision stands in another split here, and counts the moves by direction. Rows that
    are appended move nobody, unless one ties two clusters together, or `split.strata: exact` cuts each stratum anew
    (docs/team.md). A query that moved from train to test has been seen by earlier encoders; the comparison with the
    champion leaves it out (ATT046). Warns only. Not applicable where the revision keeps no assignments."""
    there = snapshot(facts)
    old, new = there.read(FILE), facts.read(FILE)
    if old is None:
        return
    if new is None:
        raise Missing(f"{FILE} is missing")
    try:
        counted, n = moves(read_assignments(old), read_assignments(new))
    except ValueError as error:
        raise Missing(f"{FILE} holds no assignments ({error})") from None
    words = ", ".join(f"{count:,} {before} to {now}" for (before, now), count in sorted(counted.items()))
    moved = f"of {n:,} queries that {there.name} has, too, {sum(counted.values()):,} moved: {words}"
    yield judged(not counted, moved if counted else f"none of {n:,} queries that {there.name} has, too, moved")
