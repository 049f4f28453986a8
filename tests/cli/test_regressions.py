"""Gate against a revision: unlike groups excuse no loss, and loosened limits are named wherever they stand."""

import dataclasses
from collections.abc import Mapping

import pytest

from attune.cli.review.findings import Missing
from attune.cli.review.regressions import (
    GATED_SYSTEMS,
    METRICS,
    TESTED_ON,
    RevisionParams,
    is_looser,
    loosened,
    regression_rule,
    same_test_rule,
)
from attune.evaluation.scoring.groups import COLUMNS, KEPT

PARAMS = RevisionParams(confidence=0.95, max_loss=0, max_loss_unpaired=0.01, allow_other_test=False, retired=[])
LOCK = "stages:\n  evaluate@tuned:\n    deps:\n" + "".join(f"    - path: {p}\n      md5: a\n" for p in TESTED_ON)
# evaluate reads the folder of all splits, seeds the test split
LOCK_OF_FOLDERS = LOCK.replace("data/splits/test", "data/splits") + (
    "  seeds:\n    deps:\n    - path: data/splits/test\n      md5: a\n"
)


@dataclasses.dataclass
class Files:
    """Files of a revision, or of the working tree."""

    files: Mapping[str, str]
    name: str = "main"

    def read(self, path: str) -> str | None:
        return self.files.get(path)


def scored(n: list[int] | None, score: float = 0.5) -> Files:
    """Files with the same score everywhere; `n`: queries by group, None where no groups were kept."""
    receipt = "{" + ", ".join(f'"{key}": {score}' for key in KEPT) + "}"
    files = {"dvc.lock": LOCK} | {f"{METRICS}/{system}.json": receipt for system in GATED_SYSTEMS}
    if n is not None:
        rows = [f"{group},{size},{score},{score},{score}" for group, size in enumerate(n)]
        text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
        files |= {f"{METRICS}/plots/groups/{system}.csv": text for system in GATED_SYSTEMS}
    return Files(files)


def regression(old: Files, here: Files, **changes: object) -> list[tuple[bool, str]]:
    return list(regression_rule(PARAMS.model_copy(update=changes), old, here.read))  # type: ignore[arg-type]


def notes(old: Files, here: Files) -> list[tuple[bool, str]]:
    return list(loosened(old, here.read))  # type: ignore[arg-type]


def test_only_a_revision_without_groups_is_compared_within_a_tolerance() -> None:
    """A loss of .009 is within gate.max_loss_unpaired."""
    here = scored([2, 3], 0.491)
    assert all(passes and "keeps no groups" in words for passes, words in regression(scored(None), here))
    assert not any(passes for passes, _ in regression(scored([2, 3]), here))


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
    """One failure per system with the next step; gate.allow_other_test lets them pass."""
    checks = regression(scored(before), scored(now))
    assert [passes for passes, _ in checks] == [False] * len(GATED_SYSTEMS)
    assert words in checks[0][1] and "gate.allow_other_test" in checks[0][1]
    assert all(passes for passes, _ in regression(scored(before), scored(now), allow_other_test=True))


@pytest.mark.parametrize("lock", [LOCK, LOCK_OF_FOLDERS])
def test_the_test_split_is_known_by_its_hash_in_either_stage(lock: str) -> None:
    """In evaluate@tuned, or in seeds where evaluate reads all splits as one folder; without either, it is missing."""
    here = Files({"dvc.lock": LOCK_OF_FOLDERS})
    same = list(same_test_rule(PARAMS, Files({"dvc.lock": lock}), here.read))  # type: ignore[arg-type]
    assert same == [(True, "the test split and the corpus are those of main")]
    other = Files({"dvc.lock": lock.replace("test\n      md5: a", "test\n      md5: b")})
    ((passes, words),) = same_test_rule(PARAMS, other, here.read)  # type: ignore[arg-type]
    assert not passes and "not those of main: data/splits/test; " in words
    with pytest.raises(
        Missing, match=r"dvc.lock \(main\) has no hash of data/splits/test in stage evaluate@tuned or seeds"
    ):
        list(same_test_rule(PARAMS, Files({"dvc.lock": "stages: {}"}), here.read))  # type: ignore[arg-type]


PANEL = "merge: {min_retention: 0.98, min_near_domain: 1.0}\nreport: {confidence: 0.9}\n"
ADVANCED = (
    "gate: {min_delta: 0.01, max_leak_share: 0.0, allow_drift: false, confidence: 0.95, retired: [a]}\n"
    "drift: {max_cost: 0.05}\nprepare: {similar_query: 0.8, similar_document: 0.7}\n"
    "probe: {tasks: {ours: {counts_as: near_domain}, gone: {counts_as: general}}}\n"
)
BEFORE = Files({"params.yaml": PANEL + "split: {by: cluster}\n", "advanced.yaml": ADVANCED})


def replaced(files: Files, old: str, new: str) -> Files:
    changed = Files({path: text.replace(old, new) for path, text in files.files.items()})
    assert changed != files
    return changed


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
        ("similar_query: 0.8", "similar_query: 0.95", "prepare.similar_query 0.8 → 0.95"),
        ("min_near_domain: 1.0", "min_near_domain: 0.9", "merge.min_near_domain 1 → 0.9"),
        ("by: cluster", "by: query", "split.by cluster → query"),
        ("counts_as: near_domain", "counts_as: nothing", "probe.tasks.ours.counts_as near_domain → nothing"),
    ],
)
def test_a_looser_limit_is_named_and_a_tighter_one_is_not(old: str, new: str, words: str) -> None:
    """A limit of section gate, or of another section on which a verdict rests, in either parameter file."""
    here = replaced(BEFORE, old, new)
    assert notes(BEFORE, here) == [(True, f"looser here than at main: {words}; merge only if that is meant")]
    assert not notes(here, BEFORE)
    assert not notes(BEFORE, BEFORE)


# a revision before advanced.yaml: one file, and thresholds of leaks and a confidence under a second name
FORMER = Files(
    {
        "params.yaml": PANEL + ADVANCED + "split: {near_query: 0.8, near_document: 0.7}\nseeds: {confidence: 0.9}\n",
    }
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("near_query: 0.8", "near_query: 0.75", "prepare.similar_query 0.75 → 0.8 (there split.near_query)"),
        ("near_document: 0.7", "near_document: 0.6", "prepare.similar_document 0.6 → 0.7 (there split.near_document)"),
        (
            "seeds: {confidence: 0.9}",
            "seeds: {confidence: 0.8}",
            "report.confidence 0.8 → 0.9 (there seeds.confidence)",
        ),
        ("min_delta: 0.01", "min_delta: 0.02", "gate.min_delta 0.02 → 0.01"),
        ("max_cost: 0.05", "max_cost: 0.04", "drift.max_cost 0.04 → 0.05"),
    ],
)
def test_limits_are_compared_with_a_revision_of_one_file(old: str, new: str, words: str) -> None:
    """A limit that has moved, or whose twin went, is compared with its value under the former name."""
    assert not notes(FORMER, BEFORE)
    there = replaced(FORMER, old, new)
    assert notes(there, BEFORE) == [(True, f"looser here than at main: {words}; merge only if that is meant")]


def test_a_task_that_an_earlier_revision_counted_is_named_when_it_counts_no_longer() -> None:
    """is_counted: true there, counts_as: nothing here; counted as either kind of loss, it is not."""
    there = Files({"advanced.yaml": "probe: {tasks: {ours: {is_counted: true}, shown: {is_counted: false}}}"})
    here = Files({"advanced.yaml": "probe: {tasks: {ours: {counts_as: nothing}, shown: {counts_as: nothing}}}"})
    words = "looser here than at main: probe.tasks.ours.counts_as general → nothing; merge only if that is meant"
    assert notes(there, here) == [(True, words)]
    assert not notes(there, replaced(here, "ours: {counts_as: nothing}", "ours: {counts_as: near_domain}"))


def test_limits_that_the_revision_had_not_are_not_compared() -> None:
    """Nor are values that are no numbers; a file that is not YAML is named."""
    assert not notes(Files({}), BEFORE)
    assert not is_looser("gate.max_loss", "0.1", 0.2)
    for path in ("params.yaml", "advanced.yaml"):
        with pytest.raises(Missing, match=rf"{path} \(main\) is not YAML"):
            notes(Files({path: "{"}), BEFORE)
