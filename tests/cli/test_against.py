"""What the gate says of a revision: groups that differ are no licence to be worse, and looser limits are named."""

import dataclasses
from collections.abc import Mapping

import pytest

from attune.cli.review.findings import Missing
from attune.cli.review.regressions import (
    METRICS,
    SYSTEMS,
    TESTED_ON,
    AgainstParams,
    is_looser,
    loosened,
    regression_rule,
)
from attune.evaluation.scoring.groups import COLUMNS, KEPT

PARAMS = AgainstParams(
    confidence=0.95, max_loss=0, max_loss_unpaired=0.01, allow_other_test=False, retired=[]
)  # fmt: skip
LOCK = "stages:\n  evaluate@tuned:\n    deps:\n" + "".join(f"    - path: {p}\n      md5: a\n" for p in TESTED_ON)


@dataclasses.dataclass
class Files:
    """A revision's files, or those here."""

    files: Mapping[str, str]
    name: str = "main"

    def read(self, path: str) -> str | None:
        return self.files.get(path)


def scored(n: list[int] | None, score: float = 0.5) -> Files:
    """The same scores everywhere; `n`: queries by group, None where no groups were kept."""
    receipt = "{" + ", ".join(f'"{key}": {score}' for key in KEPT) + "}"
    files = {"dvc.lock": LOCK} | {f"{METRICS}/{system}.json": receipt for system in SYSTEMS}
    if n is not None:
        rows = [f"{group},{size},{score},{score},{score}" for group, size in enumerate(n)]
        text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
        files |= {f"{METRICS}/plots/groups/{system}.csv": text for system in SYSTEMS}
    return Files(files)


def regression(old: Files, here: Files, **changes: object) -> list[tuple[bool, str]]:
    return list(regression_rule(PARAMS.model_copy(update=changes), old, here.read))  # type: ignore[arg-type]


def test_only_a_revision_without_groups_is_compared_within_a_tolerance() -> None:
    """A loss of .009 is within gate.max_loss_unpaired."""
    here = scored([2, 3], 0.491)
    assert all(is_kept and "keeps no groups" in words for is_kept, words in regression(scored(None), here))
    assert not any(is_kept for is_kept, _ in regression(scored([2, 3]), here))


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (
            [2, 3],
            [1, 2, 2],
            "3 groups of 5 test queries here, 2 groups of 5 test queries there, not the same ones; set ev",
        ),
        ([2, 3], [3, 2], "not the same ones; set evaluate.n_groups and the test split as there"),
        ([5], [5], "1 groups of 5 test queries have no spread; set evaluate.n_groups to 2 or more"),
    ],
)
def test_groups_that_differ_fail_and_say_why(before: list[int], now: list[int], words: str) -> None:
    found = regression(scored(before), scored(now))
    assert [is_kept for is_kept, _ in found] == [False] * len(SYSTEMS)
    assert words in found[0][1] and "gate.allow_other_test" in found[0][1]
    assert all(is_kept for is_kept, _ in regression(scored(before), scored(now), allow_other_test=True))


BEFORE = (
    "gate: {min_delta: 0.01, max_leak_share: 0.0, allow_drift: false, confidence: 0.95, retired: [a]}\n"
    "drift: {max_cost: 0.05}\nmerge: {min_retention: 0.98}\nreport: {confidence: 0.9}\nsplit: {near_query: 0.8}\n"
    "probe: {tasks: {ours: {is_counted: true}, gone: {is_counted: true}}}\n"
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_delta: 0.01", "min_delta: -0.5", "gate.min_delta 0.01 → -0.5"),
        ("max_leak_share: 0.0", "max_leak_share: 0.1", "gate.max_leak_share 0 → 0.1"),
        ("allow_drift: false", "allow_drift: true", "gate.allow_drift false → true"),
        ("confidence: 0.95", "confidence: 0.999", "gate.confidence 0.95 → 0.999"),
        ("retired: [a]", "retired: [a, b c, d]", "gate.retired also lists b c and d"),
        ("max_cost: 0.05", "max_cost: 0.06", "drift.max_cost 0.05 → 0.06"),
        ("min_retention: 0.98", "min_retention: 0.5", "merge.min_retention 0.98 → 0.5"),
        ("confidence: 0.9}", "confidence: 0.99}", "report.confidence 0.9 → 0.99"),
        ("near_query: 0.8", "near_query: 0.95", "split.near_query 0.8 → 0.95"),
        ("ours: {is_counted: true}", "ours: {is_counted: false}", "probe.tasks.ours.is_counted true → false"),
    ],
)
def test_a_looser_limit_is_named_and_a_tighter_one_is_not(old: str, new: str, words: str) -> None:
    there, here = Files({"params.yaml": BEFORE}), Files({"params.yaml": BEFORE.replace(old, new)})
    assert list(loosened(there, here.read)) == [  # type: ignore[arg-type]
        (True, f"looser here than at main: {words}; merge only if that is meant")
    ]
    assert not list(loosened(here, there.read))  # type: ignore[arg-type]
    assert not list(loosened(there, there.read))  # type: ignore[arg-type]


def test_limits_that_the_revision_had_not_are_not_compared() -> None:
    here = Files({"params.yaml": BEFORE})
    assert not list(loosened(Files({}), here.read))  # type: ignore[arg-type]
    assert not is_looser("max_loss", "0.1", 0.2)
    with pytest.raises(Missing, match=r"params\.yaml \(main\) is not YAML"):
        list(loosened(Files({"params.yaml": "{"}), here.read))  # type: ignore[arg-type]
