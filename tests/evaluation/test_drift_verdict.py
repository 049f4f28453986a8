"""The verdict on drift follows its thresholds: losses, kept neighbours, re-index; its sentences carry the figures."""

from typing import Any

import numpy as np
import pytest

from attune.evaluation.costs import TaskCost, Unmeasured
from attune.evaluation.drift_verdict import (
    DriftParams,
    Losses,
    drift_verdict,
    is_decided,
    is_drifted,
    is_reindex_needed,
    largest,
)
from attune.stage import Machine

PARAMS = DriftParams(
    max_cost=0.05,
    min_neighbour_overlap=0.3,
    min_same_cosine=0.98,
    min_stale_overlap=0.9,
    n_sample=50,
    n_bridge=20,
    machine=Machine(threads=1, precision="fp32", batch_tokens=512),
)
MOVED = {
    "domain.neighbour_overlap@10": 0.42,
    "general.neighbour_overlap@10": 0.7,
    "general.neighbour_overlap@10_low": 0.68,
    "general.neighbour_overlap@10_high": 0.72,
    "domain.same_cosine": 0.61,
    "domain.same_cosine_low": 0.6,
    "general.same_cosine": 0.8,
    "domain.stale_overlap@10": 0.5,
    "domain.stale_overlap@10_low": 0.48,
    "stale_dev_ndcg@10": 0.7,
    "dev_ndcg@10": 0.8,
    "n_domain_texts": 2000,
    "n_general_texts": 1932,
}
FEW = dict.fromkeys(key for key in MOVED if key.startswith("general.neighbour")) | {"n_general_texts": 40}
FEW_DOCUMENTS = {key: None for key in MOVED if key.startswith("domain.") and "overlap" in key} | {"n_domain_texts": 60}
STILL = dict.fromkeys(MOVED, 1.0) | {"stale_dev_ndcg@10": 0.5, "dev_ndcg@10": 0.5}


def cost(
    value: float, margin: float, name: str = "grade.spearman", counts_as: str = "general", p: float | None = None
) -> TaskCost:
    """A loss with its interval; the detectable loss is as far from 0 as 1.4 margins, as at a power of .8.

    Without a corrected p-value, it is that of a single task: .02 where the interval excludes 0, else .2.
    """
    task, _, measure = name.partition(".")
    p_holm = p if p is not None else 0.02 if abs(value) > margin else 0.2
    return TaskCost(
        task=task,
        measure=measure,
        counts_as=counts_as,
        base=0.5,
        tuned=0.5 * (1 - value),
        cost=value,
        low=value - margin,
        high=value + margin,
        p_holm=p_holm,
        is_significant=p_holm <= 0.05,
        detectable=1.4 * margin,
    )


def near(value: float, margin: float, name: str = "near_as_typed.ndcg@10", p: float | None = None) -> TaskCost:
    return cost(value, margin, name, "near_domain", p)


def losses(*costs: TaskCost, unmeasured: tuple[Unmeasured, ...] = ()) -> Losses:
    return Losses(costs, PARAMS.max_cost, 0.95, unmeasured)


def overlap(low: float, high: float) -> dict[str, float]:
    """The neighbours that general texts keep, with the ends of the interval."""
    ends = {"": (low + high) / 2, "_low": low, "_high": high}
    return {f"general.neighbour_overlap@10{end}": value for end, value in ends.items()}


SMALL = losses(cost(0.01, 0.02))


def words(*costs: TaskCost, figures: dict[str, Any] = MOVED) -> str:
    return drift_verdict(figures, losses(*costs), PARAMS)


def test_a_task_that_cannot_detect_the_limit_is_not_counted() -> None:
    """A margin of 4% detects 5.6%: above the limit of 5%, so a loss of 3% or 7% of it says nothing."""
    for value in (0.03, 0.039):
        blind = losses(cost(value, 0.04))
        assert blind.counted == [] and not is_drifted(MOVED, blind, PARAMS) and not is_decided(MOVED, blind, PARAMS)
    assert len(losses(cost(0.03, 0.04), cost(0.03, 0.03)).counted) == 1


def test_a_certain_loss_above_the_limit_counts_whatever_the_task_detects() -> None:
    """A loss of 30% with a margin of 10% is above 5%; one of 8% with a margin of 9% may be chance."""
    assert is_drifted(MOVED, losses(cost(0.3, 0.1)), PARAMS)
    assert not is_drifted(MOVED, losses(cost(0.08, 0.09)), PARAMS)
    assert is_decided(MOVED, losses(cost(0.3, 0.1)), PARAMS)


def test_each_of_three_signs_is_drift() -> None:
    """A general loss certainly above max_cost, too few kept neighbours, or any certain loss near the domain."""
    assert not is_drifted(MOVED, losses(cost(0.069, 0.02)), PARAMS)
    assert is_drifted(MOVED, losses(cost(0.071, 0.02)), PARAMS)
    assert is_drifted(MOVED | overlap(0.27, 0.29), SMALL, PARAMS)
    assert not is_drifted(MOVED, losses(cost(0.01, 0.02), near(0.03, 0.031)), PARAMS)
    assert is_drifted(MOVED, losses(cost(0.01, 0.02), near(0.03, 0.029)), PARAMS)


def test_a_loss_about_the_limit_is_no_answer() -> None:
    """Each counted task must exclude a loss above max_cost; the sentence says where one does not."""
    assert is_decided(MOVED, losses(cost(0.03, 0.02)), PARAMS)
    for open_loss in (cost(0.031, 0.02), cost(0.05, 0.02), cost(0.069, 0.02)):
        assert not is_decided(MOVED, losses(cost(0.0, 0.01, "find.ndcg@10"), open_loss), PARAMS)
    assert "; a loss above the 5.0% allowed is not ruled out." in words(cost(0.04, 0.02))


@pytest.mark.parametrize("error", [0.005, 0.01, 0.017])
def test_a_true_loss_at_the_limit_is_rarely_decided(error: float) -> None:
    """Planted: a loss of exactly max_cost, with this standard error. Either verdict is wrong; each in at most 5%."""
    seen = np.random.default_rng(0).normal(PARAMS.max_cost, error, 2000)
    verdicts = [drift_verdict(MOVED, losses(cost(value, 1.96 * error)), PARAMS).partition(".")[0] for value in seen]
    assert verdicts.count("Drifted") <= 0.05 * len(seen)
    assert verdicts.count("Not drifted") <= 0.05 * len(seen)


def test_near_domain_tasks_decide_nothing_about_general_ones() -> None:
    """Without a counted general task the answer is open, whatever near-domain tasks can detect."""
    assert not is_decided(MOVED, losses(near(0.0, 0.001)), PARAMS)
    assert losses(near(0.2, 0.1), cost(0.01, 0.02)).counted == [cost(0.01, 0.02)]


def test_a_near_domain_task_is_counted_whatever_it_detects() -> None:
    """There is no limit that it has to detect: a certain loss of any size is drift; a general task has one."""
    assert losses().is_counted(near(-0.2, 0.1)) and losses().is_counted(near(0.0, 0.1))
    assert not losses().is_counted(cost(0.0, 0.1))


def test_the_largest_loss_is_a_loss() -> None:
    """None where every task gained or stayed."""
    assert largest([]) is None and largest([cost(0.0, 0.1), cost(-0.2, 0.1)]) is None
    assert largest([cost(0.01, 0.1), cost(0.02, 0.1)]) == cost(0.02, 0.1)


def test_either_of_two_signs_asks_for_a_new_index() -> None:
    """A re-index is needed where the interval does not exclude a value below min_same_cosine or min_stale_overlap."""
    assert not is_reindex_needed(STILL, PARAMS)
    assert is_reindex_needed(STILL | {"domain.same_cosine_low": 0.97}, PARAMS)
    assert is_reindex_needed(STILL | {"domain.stale_overlap@10_low": 0.89}, PARAMS)
    assert not is_reindex_needed(STILL | {"domain.same_cosine_low": 0.98, "domain.stale_overlap@10_low": 0.9}, PARAMS)


def test_the_words_of_a_healthy_run() -> None:
    """All five sentences, with every figure in them."""
    assert words(cost(0.0123, 0.02), cost(0, 0.01, "find.ndcg@10"), near(-0.02, 0.03)) == (
        "Not drifted. The space moved: of the 10 nearest neighbours, chance subtracted, 42% are the same among the "
        "domain's documents and 70% are the same among general texts. "
        "Re-index: vectors of the base cannot be mixed with the tuned encoder's (a document's "
        "old and new vectors have a mean cosine of 0.61, tuned vectors find 50% of their neighbours among the base's, "
        "and dev nDCG@10 over the base's vectors is 0.700 instead of 0.800). General tasks: no loss above 3.2% found; "
        "the largest is 1.2% (grade.spearman, 95% interval -0.8% to 3.2%). "
        "Near-domain tasks: no loss above 1.0% found."
    )


def test_the_words_of_drift_name_its_sign() -> None:
    """The verdict names the loss, or the neighbours that general texts should have kept."""
    lost = words(cost(0.2, 0.1))
    assert lost.startswith("Drifted. ")
    assert (
        "the largest loss is 20.0% (grade.spearman, 95% interval 10.0% to 30.0%, p = 0.020, Holm-corrected for 1 task),"
        " more than the 5.0% allowed." in lost
    )
    far = words(cost(-0.01, 0.02), figures=MOVED | overlap(0.08, 0.12))
    assert (
        "no loss above 1.0% found; but general texts should keep at least 30% of their neighbours (95% interval 8% to "
        "12%)." in far
    )


def test_a_near_domain_loss_is_named_with_its_scores() -> None:
    """The task, both scores, the interval and the corrected p-value."""
    lost = words(cost(0.01, 0.02), near(0.068, 0.03, p=0.0004), near(0.01, 0.02, "near_as_indexed.ndcg@10"))
    assert lost.startswith("Drifted. ") and lost.endswith(
        "Near-domain tasks: tuned is worse than base (near_as_typed.ndcg@10 0.500 -> 0.466, "
        "6.8% (95% interval 3.8% to 9.8%, p < 0.001, Holm-corrected for 3 tasks))."
    )
    assert words(near(0.02, 0.03)).endswith(
        "no loss above 5.0% found; the largest is 2.0% (near_as_typed.ndcg@10, 95% interval -1.0% to 5.0%, "
        "p = 0.200, Holm-corrected for 1 task), which may be chance."
    )


def test_a_loss_that_the_correction_does_not_bear_out_is_no_drift() -> None:
    """Both intervals exclude 0, but among so many tasks that may be chance; the sentence gives both figures."""
    general, next_door = cost(0.3, 0.1, p=0.06), near(0.03, 0.02, p=0.06)
    assert not is_drifted(MOVED, losses(general, next_door), PARAMS)
    assert not is_decided(MOVED, losses(general), PARAMS)
    told = words(cost(0.01, 0.02), next_door)
    assert told.startswith("Not drifted. ") and told.endswith(
        "no loss above 5.0% found; the largest is 3.0% (near_as_typed.ndcg@10, 95% interval 1.0% to 5.0%, "
        "p = 0.060, Holm-corrected for 2 tasks), which may be chance."
    )


def test_tasks_that_cannot_be_measured_are_named_last() -> None:
    """With their reasons; a near-domain task among them is not called none."""
    missing = (
        Unmeasured("near_us", "ndcg@10", "near_domain", "the base scores 0 or less, so there is nothing to lose"),
        Unmeasured("pairs", "spearman", "general", "all items are one cluster, so the interval is unknown"),
    )
    told = drift_verdict(MOVED, losses(cost(0.01, 0.02), unmeasured=missing), PARAMS)
    assert told.endswith(
        "Near-domain tasks: none that can be measured, so the gain is measured on queries like those of training only. "
        "Not measured: near_us.ndcg@10 (the base scores 0 or less, so there is nothing to lose); "
        "pairs.spearman (all items are one cluster, so the interval is unknown)."
    )
    assert "Near-domain tasks: none, so" in drift_verdict(MOVED, losses(unmeasured=missing[1:]), PARAMS)
    assert not is_decided(MOVED, losses(unmeasured=missing), PARAMS)


def test_gains_on_every_near_domain_task_are_said_with_their_confidence() -> None:
    """Where all intervals lie on the side of a gain, no loss has to be ruled out."""
    assert words(near(-0.05, 0.02)).endswith("Near-domain tasks: tuned gains on each (95% intervals above 0).")


def test_the_words_where_nothing_can_be_told() -> None:
    """Undecided, with the loss from which each task would have found it."""
    open_ = words(cost(0.03, 0.05), cost(0.01, 0.1, "find.ndcg@10"))
    assert open_.startswith("Undecided whether it drifted. ")
    assert (
        "General tasks: no task detects a loss of 5.0% (drift.max_cost), so none is ruled out; not counted, as only "
        "larger losses are detectable: grade.spearman (from 7.0%), find.ndcg@10 (from 14.0%)." in open_
    )


def test_a_certain_loss_of_a_task_that_is_not_counted_is_named() -> None:
    """A loss of 4.5% [.5%, 8.5%] where 5.6% is detected: no answer about the limit, but never passed over."""
    told = words(cost(0.01, 0.02), cost(0.045, 0.04, "find.ndcg@10", p=0.02))
    assert told.startswith("Not drifted.") and "no loss above 3.0% found on those counted" in told
    lost = (
        "find.ndcg@10 (from 5.6%), which lost 4.5% (95% interval 0.5% to 8.5%, p = 0.020, Holm-corrected for 2 tasks)"
    )
    assert f"not counted, as only larger losses are detectable: {lost}" in told


def test_without_near_domain_tasks_the_limit_of_the_gain_is_said() -> None:
    """The last sentence."""
    assert words(cost(0.01, 0.02)).endswith(
        "Near-domain tasks: none, so the gain is measured on queries like those of training only."
    )


def test_the_words_where_nothing_moved() -> None:
    """Where base and tuned are equal, nothing moved and nothing is re-indexed; what was lost is never nothing."""
    still = words(cost(0.0, 0.006), figures=STILL)
    assert still.startswith(
        "Not drifted. The space did not move. No re-index needed: vectors of base and tuned can be mixed"
    )
    assert "General tasks: no loss above 0.6% found." in still and "nothing was lost" not in still


def test_too_few_general_texts_are_never_called_not_drifted() -> None:
    """Undecided, with the number that is needed; a loss on a task is drift all the same."""
    few = MOVED | FEW
    assert not is_drifted(few, SMALL, PARAMS) and not is_decided(few, SMALL, PARAMS)
    told = words(cost(0.01, 0.02), figures=few)
    assert told.startswith(
        "Undecided whether it drifted. The space moved: of the 10 nearest neighbours, chance subtracted, 42% are the "
        "same among the domain's documents; general texts are too few to compare neighbours (40, 100 needed)."
    )
    assert "; general texts are too few to tell whether they keep 30% of their neighbours." in told
    assert is_drifted(few, losses(cost(0.3, 0.1)), PARAMS) and is_decided(few, losses(cost(0.3, 0.1)), PARAMS)


def test_neighbours_that_may_be_lost_leave_it_undecided() -> None:
    """The limit of 30% within the interval, the estimate on either side; a loss on a task is drift all the same."""
    for low, high in ((0.25, 0.33), (0.28, 0.36)):
        unclear = MOVED | overlap(low, high)
        assert not is_drifted(unclear, SMALL, PARAMS) and not is_decided(unclear, SMALL, PARAMS)
        assert is_drifted(unclear, losses(cost(0.3, 0.1)), PARAMS)
    told = words(cost(0.01, 0.02), figures=unclear)
    assert told.startswith("Undecided whether it drifted. ")
    assert "; it is open whether general texts keep 30% of their neighbours (95% interval 28% to 36%)." in told


def test_few_texts_that_did_not_move_are_not_drifted() -> None:
    """Equal vectors keep their neighbours, however few they are: the invariant of train.epochs: 0."""
    still = STILL | FEW | FEW_DOCUMENTS
    assert is_decided(still, SMALL, PARAMS) and not is_reindex_needed(still, PARAMS)
    told = words(cost(0.01, 0.02), figures=still)
    assert told.startswith("Not drifted. The space did not move. No re-index needed")
    assert "domain's documents are too few to compare neighbours (60, 100 needed)" in told


def test_too_few_documents_that_moved_are_indexed_again() -> None:
    """Their cosines alone do not tell whether a search finds the same; the sentence says why."""
    nearly = STILL | FEW_DOCUMENTS | {"domain.same_cosine": 0.99, "domain.same_cosine_low": 0.985}
    assert is_reindex_needed(nearly, PARAMS) and not is_reindex_needed(nearly | {"domain.same_cosine": 1.0}, PARAMS)
    told = words(cost(0.01, 0.02), figures=nearly)
    assert "(a document's old and new vectors have a mean cosine of 0.99, the domain's documents are too few" in told


@pytest.mark.parametrize("name", ["max_cost", "min_neighbour_overlap"])
def test_limits_are_shares(name: str) -> None:
    """Above 1 they could never be met, or never be missed."""
    with pytest.raises(ValueError, match="less than or equal to 1"):
        DriftParams.model_validate(PARAMS.model_dump() | {name: 1.5})
