"""The verdict on drift follows its thresholds: cost, kept neighbours, re-index; its sentences carry the figures."""

from typing import Any

import pytest

from attune.errors import BadInput
from attune.evaluation.drift import Cost, DriftParams, drift_verdict, general_cost, is_drifted, is_reindex_needed
from attune.stage import Machine

PARAMS = DriftParams(
    max_cost=0.05,
    min_neighbour_overlap=0.3,
    min_same_cosine=0.98,
    min_stale_overlap=0.9,
    n_sample=50,
    machine=Machine(threads=1, precision="fp32", batch_tokens=512),
)
MOVED = {
    "domain.neighbour_overlap@10": 0.42,
    "general.neighbour_overlap@10": 0.7,
    "domain.same_cosine": 0.61,
    "general.same_cosine": 0.8,
    "domain.stale_overlap@10": 0.5,
    "stale_dev_ndcg@10": 0.7,
    "dev_ndcg@10": 0.8,
}
STILL = dict.fromkeys(MOVED, 1.0) | {"stale_dev_ndcg@10": 0.5, "dev_ndcg@10": 0.5}


def probed(**changes: Any) -> dict[str, Any]:
    values = {
        "n_general_texts": 9,
        **{"find.ndcg@10": 0.8, "find.recall@10": 0.9, "find.n": 10, "find.is_counted": True},
        **{"grade.spearman": 0.5, "grade.n": 10, "grade.is_counted": True},
        **{"group.v_measure": 0.4, "group.n": 10, "group.is_counted": False},
    }
    return values | {key.replace("__", "."): value for key, value in changes.items()}


def test_the_largest_relative_loss_of_a_counted_task() -> None:
    """.02 of .5 is more than .024 of .8; recall, sizes and tasks that are not counted do not matter."""
    tuned = probed(grade__spearman=0.48, group__v_measure=0.1, find__n=5) | {"find.ndcg@10": 0.776, "find.recall@10": 0}
    assert general_cost(probed(), tuned) == Cost(pytest.approx(0.04), "grade.spearman")


def test_gains_and_equal_scores_cost_nothing() -> None:
    """Cost is 0 without a measure where no task lost."""
    assert general_cost(probed(), probed()) == Cost(0, "")
    assert general_cost(probed(), probed(grade__spearman=0.6)) == Cost(0, "")


def test_a_task_the_base_cannot_do_has_nothing_to_lose() -> None:
    """A base score of 0 or less is left out: a relative loss of it means nothing."""
    assert general_cost(probed(grade__spearman=-0.1), probed(grade__spearman=-0.5)) == Cost(0, "")


def test_receipts_of_different_tasks_are_refused() -> None:
    """The line names the task's key that only one side has."""
    tuned = probed()
    tuned.pop("grade.n")
    with pytest.raises(BadInput, match=r"probed with different tasks \(grade\.n\)"):
        general_cost(probed(), tuned)


def test_either_of_two_signs_is_drift() -> None:
    """Drift is a cost above max_cost, or a neighbour overlap below min_neighbour_overlap."""
    assert not is_drifted(MOVED, Cost(0.05, "grade.spearman"), PARAMS)
    assert is_drifted(MOVED, Cost(0.051, "grade.spearman"), PARAMS)
    assert is_drifted(MOVED | {"general.neighbour_overlap@10": 0.29}, Cost(0, ""), PARAMS)


def test_either_of_two_signs_asks_for_a_new_index() -> None:
    """A re-index is needed below min_same_cosine or below min_stale_overlap."""
    assert not is_reindex_needed(STILL, PARAMS)
    assert is_reindex_needed(STILL | {"domain.same_cosine": 0.97}, PARAMS)
    assert is_reindex_needed(STILL | {"domain.stale_overlap@10": 0.89}, PARAMS)


def test_the_words_of_a_healthy_run() -> None:
    """All three sentences, with every figure in them."""
    assert drift_verdict(MOVED, Cost(0.0123, "grade.spearman"), PARAMS) == (
        "Not drifted. The space moved: of the 10 nearest neighbours 42% are the same among the domain's documents and "
        "70% among general texts. Re-index: vectors of the base cannot be mixed with the tuned encoder's (a document's "
        "old and new vectors have a mean cosine of 0.61, tuned vectors find 50% of their neighbours among the base's, "
        "and dev nDCG@10 over the base's vectors is 0.700 instead of 0.800). General tasks: the largest loss is 1.2% "
        "(grade.spearman), within the 5.0% allowed."
    )


def test_the_words_of_drift_name_its_sign() -> None:
    """The verdict names the loss, or the neighbours that general texts should have kept."""
    assert "Drifted. " in drift_verdict(MOVED, Cost(0.2, "grade.spearman"), PARAMS)
    assert drift_verdict(MOVED, Cost(0.2, "grade.spearman"), PARAMS).endswith(
        "20.0% (grade.spearman), more than the 5.0% allowed."
    )
    far = MOVED | {"general.neighbour_overlap@10": 0.1}
    assert drift_verdict(far, Cost(0, ""), PARAMS).endswith(
        "nothing was lost; but of the neighbours of general texts at least 30% should be kept."
    )


def test_the_words_where_nothing_moved() -> None:
    """Where base and tuned are equal, nothing moved, nothing is re-indexed, nothing was lost."""
    words = drift_verdict(STILL, Cost(0, ""), PARAMS)
    assert words.startswith(
        "Not drifted. The space did not move. No re-index needed: vectors of base and tuned can be mixed"
    )
    assert words.endswith("General tasks: nothing was lost.")
