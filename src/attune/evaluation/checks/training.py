"""Training: overfitting, batches, mined negatives."""

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.report.choice import CHOICE, candidate_of, ships
from attune.evaluation.statistics.decision import Status
from attune.tuning.curve import BASE

MERGE = "metrics/merge.json"
ROUNDING = 1e-6  # of the figures in metrics/
OVERFITTING = {"not overfitted": Status.PASSED, "overfitted": Status.FAILED, "cannot tell": Status.UNDECIDED}


@check("ATT010", "overfitting", "metrics/report.json", on_top=True)
def overfitting(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where dev has too little of train's gain in nDCG@10, or test of dev's (`report.min_carried_share`), or dev
    fell while the last checkpoint is kept as it is; undecided where the intervals of these shares leave it open.
    Remedies: fewer `train.epochs`, a lower rate, `merge.keep: best`, more data."""
    status, sentence = (facts.of("report", "overfitting", key) for key in ("status", "verdict"))
    yield Outcome(OVERFITTING.get(status, Status.UNDECIDED), str(sentence))


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


@check("ATT043", "base kept", MERGE, "metrics/train.json", fails_gate=False)
def base_kept(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where training ran and base ships all the same: no checkpoint, share or average gained more than one
    standard error on dev and kept `merge.min_retention` and `merge.min_near_domain`. The report says what was tried,
    and what base's recall@100 and nDCG@10 on dev say about the room there is. Warns only: base is better than a loss.
    Not applicable where nothing was trained (`train.epochs: 0`)."""
    if facts.number("train", "n_steps"):
        merge = {**facts.of("merge"), **{key: facts.of("merge", key) for key in CHOICE}}
        yield judged(candidate_of(merge) != BASE, ships(merge))


@check("ATT044", "floors of merge", MERGE)
def floors(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where the encoder that ships keeps less than `merge.min_retention` of base's nDCG@10 on general text, or
    less than `merge.min_near_domain` on a near-domain task of dev, by more than one standard error; undecided where
    it keeps less by no more than that, or where one cluster of queries gives no standard error. Stage `merge` ships
    no such candidate unless `merge.keep: last` asks for the last checkpoint, whatever it lost; remedy: `merge.keep:
    best`."""
    yield _floor(facts, "general text", "retention", "min_retention")
    if facts.get("merge", "near_domain_kept") is not None:
        yield _floor(facts, "the near-domain task that kept least", "near_domain_kept", "min_near_domain")


def _floor(facts: Facts, where: str, kept: str, floor: str) -> Outcome:
    """Judges the share of base's nDCG@10 that was kept somewhere against its floor, as stage merge does.

    Args:
        facts: with the receipt of stage merge.
        where: the texts, in words.
        kept: key of the share; that of its standard error begins as it does and is missing where there is none.
        floor: key of the floor.
    """
    share, least = facts.number("merge", kept), facts.number("merge", floor)
    error = facts.get("merge", f"{kept.removesuffix('_kept')}_standard_error")
    known = "one cluster of queries gives no standard error" if error is None else f"standard error {error:.1%}"
    words = f"{share:.1%} of base's nDCG@10 kept on {where}, {known}; merge.{floor} is {least:.1%}"
    if share >= least - ROUNDING:
        return Outcome(Status.PASSED, words)
    is_open = error is None or share + error >= least - ROUNDING
    return Outcome(Status.UNDECIDED if is_open else Status.FAILED, words)
