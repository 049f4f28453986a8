"""Checks of costs beside the domain: drift and near-domain tasks."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.statistics.decision import Status

DRIFT = "metrics/drift.json"


@check("ATT006", "near-domain tasks", DRIFT, fails_gate=False)
def near_domain(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where tuned certainly lost on other people's queries over these documents. Passes where the intervals of
    all such tasks exclude a loss above `drift.max_cost`, and is undecided between, and where no such task can be
    measured, so that the gain holds for queries like those of training only (data/tasks/README.md shows how to add
    one). A failure here is drift, ATT011, too."""
    n, worst = facts.get("drift", "n_near_domain_tasks", default=0), facts.get("drift", "largest_near_cost", default=0)
    if not n:
        yield Outcome(Status.UNDECIDED, "no near-domain task was measured: the gain holds for queries like these only")
        return
    of = f" ({name})" if (name := facts.get("drift", "largest_near_cost_of", default="")) else ""
    lost = f"largest loss {worst:.1%}{of}" if worst else "no loss on any"
    ceiling = facts.get("drift", "near_domain.largest_open_cost", default=1.0)  # absent in figures of older revisions
    most = facts.get("params", "drift", "max_cost", default=0.0)
    words = f"{n} tasks, {lost}; losses above {max(ceiling, 0):.1%} are excluded, drift.max_cost is {most:.1%}"
    if facts.get("drift", "near_domain.is_worse", default=False):
        yield Outcome(Status.FAILED, words)
    else:
        yield Outcome(Status.PASSED if ceiling <= most else Status.UNDECIDED, words)


@check("ATT011", "drift", DRIFT, on_top=True)
def drift(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a general task certainly lost more than `drift.max_cost`, a near-domain task certainly lost, or
    general texts lost their neighbours; undecided where a counted task does not exclude such a loss, or none is
    counted. Remedies: more `train.distill_weight`, a higher `merge.min_retention`, fewer `train.epochs`."""
    is_bad, is_decided, sentence = (facts.of("drift", key) for key in ("is_drifted", "is_decided", "verdict"))
    yield judged(is_bad is False, sentence) if is_bad or is_decided else Outcome(Status.UNDECIDED, sentence)
