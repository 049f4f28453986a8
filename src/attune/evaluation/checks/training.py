"""Training: overfitting, batches, mined negatives."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, Status, check, judged

OVERFITTING = {"not overfitted": Status.PASSED, "overfitted": Status.FAILED, "cannot tell": Status.UNDECIDED}


@check("ATT010", "overfitting", "metrics/report.json")
def overfitting(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where dev has too little of train's gain in nDCG@10, or test of dev's (`report.min_carried_share`), or dev
    fell while a later checkpoint is kept; undecided where the intervals of these shares leave it open. Remedies: fewer
    `train.epochs`, a lower rate, `train.keep: best`, more data."""
    is_bad, sentence = facts.of("report", "overfitting", "is_overfitted"), facts.of("report", "overfitting", "verdict")
    # figures of earlier revisions know two outcomes
    told = facts.get("report", "overfitting", "status", default="overfitted" if is_bad else "not overfitted")
    yield Outcome(OVERFITTING.get(told, Status.UNDECIDED), str(sentence))


@check("ATT018", "full batches", "metrics/train.json", fails_gate=False)
def full_batches(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where batches stayed short because too few rows are no false negatives of each other: each row then has
    fewer in-batch negatives than `train.batch_size` promises. Set a smaller `train.batch_size`."""
    if (fill := facts.get("train", "mean_batch_fill")) is not None:
        n, n_steps = facts.number("train", "n_unfilled_batches"), facts.number("train", "n_steps")
        yield judged(not n, f"{n:.0f} of {n_steps:.0f} batches were not full; {fill:.1%} of the places hold a row")


@check("ATT025", "false negatives among mined ones", "metrics/report.json", fails_gate=False)
def false_negatives(facts: Facts, limits: GateParams) -> Outcomes:
    """Share of the mined negatives that are answers after all, from a random sample that people or a model judged
    (`attune judge`). Passes and fails where its interval lies below or above `gate.max_false_negative_share`, and is
    undecided between, and where nobody judged the negatives of this mining. The sentence names who judged; a model's
    judgements are not calibrated."""
    current = [one for one in facts.get("report", "judged_negatives", default={}).values() if one["is_current"]]
    for one in current:
        is_low, is_high = (one[key] <= limits.max_false_negative_share for key in ("ci_high", "ci_low"))
        status = Status.PASSED if is_low else Status.UNDECIDED if is_high else Status.FAILED
        yield Outcome(status, str(one["sentence"]))
    if not current:
        yield Outcome(Status.UNDECIDED, "nobody has judged a sample of them; `attune judge` draws a sheet")
