"""ATT044: the encoder that ships keeps what stage merge asks for on general text and near the domain."""

from typing import Any

import pytest
from shipped_params import PANEL

from attune.evaluation.checks.catalogue import findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.training import floors
from attune.stage import load_params

LIMITS = load_params(GateParams, "gate", PANEL)
GENERAL = {"retention": 0.98, "retention_standard_error": 0.01, "min_retention": 0.95}
NEAR = {"near_domain_kept": 1.02, "near_domain_standard_error": 0.02, "min_near_domain": 1.0}


def judged(merge: dict[str, Any]) -> list[tuple[str, str]]:
    """Returns status and sentence of each outcome; every one would fail the gate."""
    found = findings(Facts({"merge": merge}), LIMITS, ["metrics"], [floors])
    assert all(one.check.code == "ATT044" and one.check.fails_gate for one in found)
    assert all(one.is_blocking for one in found if one.status == "failed")
    return [(str(one.status), one.sentence) for one in found]


def test_each_floor_has_a_sentence_with_its_figures() -> None:
    """Share, standard error and limit, as merge.json has them; no near-domain line without such tasks."""
    general = "98.0% of base's nDCG@10 kept on general text, standard error 1.0%; merge.min_retention is 95.0%"
    assert judged(GENERAL) == [("passed", general)]
    assert judged(GENERAL | NEAR) == [
        ("passed", general),
        (
            "passed",
            "102.0% of base's nDCG@10 kept on the near-domain task that kept least, standard error 2.0%; "
            "merge.min_near_domain is 100.0%",
        ),
    ]


@pytest.mark.parametrize(
    ("kept", "error", "status"),
    [
        (0.95, 0.0, "passed"),
        (0.949999, 0.0, "passed"),  # rounded in merge.json
        (0.94, 0.01, "undecided"),
        (0.93, 0.01, "failed"),
        (0.5, 0.01, "failed"),
        (0.95, None, "passed"),
        (0.94, None, "undecided"),
    ],
)
def test_a_floor_is_missed_by_more_than_a_standard_error(kept: float, error: float | None, status: str) -> None:
    """The rule by which stage merge refuses a candidate; without an error a share below the floor decides nothing."""
    for names, least in ((GENERAL, "min_retention"), (NEAR, "min_near_domain")):
        share, error_of, floor = names
        figures = {share: kept, error_of: error, floor: 0.95}
        merge = GENERAL | NEAR | {key: value for key, value in figures.items() if value is not None}
        if error is None:
            del merge[error_of]
        ((found, sentence),) = [one for one in judged(merge) if f"merge.{least} is" in one[1]]
        assert found == status
        assert ("one cluster of queries gives no standard error" in sentence) == (error is None)


@pytest.mark.parametrize("key", ["retention", "min_retention", "min_near_domain"])
def test_a_floor_without_its_figures_fails(key: str) -> None:
    """A receipt of another version proves nothing; the sentence names the figure and the next step."""
    merge = {name: value for name, value in (GENERAL | NEAR).items() if name != key}
    assert ("failed", f"metrics/merge.json has no {key}; run `dvc repro` and commit dvc.lock and metrics/") in judged(
        merge
    )
