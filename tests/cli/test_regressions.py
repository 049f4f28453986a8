"""Gate against a revision: unlike groups excuse no loss, and loosened limits are named wherever they stand."""

import dataclasses
from collections.abc import Mapping

import pytest
from shipped_params import PANEL

from attune.evaluation.checks.catalogue import Finding, catalogue, findings
from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.loosened import is_looser
from attune.evaluation.checks.revision import GATED_SYSTEMS, TESTED_ON
from attune.evaluation.scoring.groups import COLUMNS, KEPT
from attune.stage import load_params

PARAMS = load_params(GateParams, "gate", PANEL)
METRICS = "metrics"
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
    commit: str = "0" * 40

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def paths(self, folder: str, suffix: str) -> list[str]:
        return sorted(path for path in self.files if path.startswith(folder) and path.endswith(suffix))


def scored(n: list[int] | None, score: float = 0.5) -> Files:
    """Files with the same score everywhere; `n`: queries by group, None where no groups were kept."""
    receipt = "{" + ", ".join(f'"{key}": {score}' for key in KEPT) + "}"
    files = {"dvc.lock": LOCK} | {f"{METRICS}/{system}.json": receipt for system in GATED_SYSTEMS}
    if n is not None:
        rows = [f"{group},{size},{score},{score},{score}" for group, size in enumerate(n)]
        text = "\n".join([",".join(COLUMNS), *rows]) + "\n"
        files |= {f"{METRICS}/plots/groups/{system}.csv": text for system in GATED_SYSTEMS}
    return Files(files)


def judged(code: str, old: Files, here: Files, **limits: object) -> list[Finding]:
    """Returns the findings of one check on these two sides."""
    listed = [each for each in catalogue() if each.code == code]
    facts = Facts({"dvc.lock": {}}, here.read, revision=old)
    return findings(facts, PARAMS.model_copy(update=limits), ["metrics", "dvc.lock", "revision"], listed)


def regression(old: Files, here: Files, **limits: object) -> list[tuple[str, str]]:
    return [(str(each.status), each.sentence) for each in judged("ATT022", old, here, **limits)]


def notes(old: Files, here: Files) -> list[str]:
    """Returns what is looser here, which never stops a merge."""
    (found,) = judged("ATT024", old, here)
    assert not found.is_blocking or "is not YAML" in found.sentence
    return [] if found.status == "passed" else [found.sentence]


def test_what_no_interval_tells_is_undecided() -> None:
    """A revision without scores by group, and a group of two beside one of three queries, rule nothing out."""
    here = scored([2, 3], 0.481)
    assert regression(scored(None), here) == [
        ("undecided", f"{system}: main keeps no scores by group, so that a change cannot be told from chance")
        for system in GATED_SYSTEMS
    ]
    assert {status for status, _ in regression(scored([2, 3]), here)} == {"undecided"}


def spread(by: float, n_groups: int = 100, n_lost: int = 100) -> tuple[Files, Files]:
    """Two sides of 1,000 queries in groups of ten, of which some changed by this much."""
    old, files = scored([10] * n_groups), {}
    rows = [(g, 10, *[f"{0.5 + by * (g < n_lost) * (0.8 + 0.4 * (g % 2)):.6f}"] * 3) for g in range(n_groups)]
    text = "\n".join([",".join(COLUMNS), *(",".join(map(str, row)) for row in rows)]) + "\n"
    for system in GATED_SYSTEMS:
        files[f"{METRICS}/plots/groups/{system}.csv"] = text
    return old, Files(dict(old.files) | files)


@pytest.mark.parametrize(
    ("by", "n_lost", "margin", "statuses"),
    [
        (0.0, 100, 0.02, {"passed"}),
        (-0.05, 100, 0.02, {"failed"}),
        (-0.01, 100, 0.02, {"passed"}),  # certain, and within the margin
        (-0.02, 100, 0.02, {"undecided"}),
        (-0.1, 4, 0.0, {"undecided"}),  # four groups lost, none won: exact p = .125
        (-0.1, 4, 0.02, {"passed"}),
        (-0.05, 100, 0.06, {"passed"}),
    ],
)
def test_a_loss_is_ruled_out_certain_or_neither(by: float, n_lost: int, margin: float, statuses: set[str]) -> None:
    """By interval and exact test; an undecided line says how many queries would decide."""
    outcomes = regression(*spread(by, n_lost=n_lost), margin=margin)
    assert {status for status, _ in outcomes} == statuses
    if by == -0.02:
        assert all("test queries" in words for _, words in outcomes)


def test_the_same_vectors_with_the_same_scores_pass_however_few() -> None:
    """Five queries rule nothing out; but where dvc.lock records the same vectors, nothing changed."""
    embeddings = "".join(
        f"  evaluate@{system}:\n    deps:\n    - path: data/embeddings/{system}\n      md5: {{0}}\n"
        + ("".join(f"    - path: {path}\n      md5: a\n" for path in TESTED_ON) if system == "tuned" else "")
        for system in GATED_SYSTEMS
    )
    old = scored([2, 3])
    sides = [Files(dict(old.files) | {"dvc.lock": "stages:\n" + embeddings.format(md5)}) for md5 in "ab"]
    same = regression(sides[0], sides[0])
    assert same == [("passed", f"{system} has the vectors and the scores of main") for system in GATED_SYSTEMS]
    assert {status for status, _ in regression(*sides)} == {"undecided"}


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
    """One failure per system with the next step; a reason in gate.ignore lets them pass."""
    outcomes = regression(scored(before), scored(now))
    assert [status for status, _ in outcomes] == ["failed"] * len(GATED_SYSTEMS)
    assert words in outcomes[0][1]
    ignored = judged("ATT022", scored(before), scored(now), ignore={"ATT022": "other groups from now on"})
    assert {str(each.status) for each in ignored} == {"ignored"}


@pytest.mark.parametrize("lock", [LOCK, LOCK_OF_FOLDERS])
def test_the_test_split_is_known_by_its_hash_in_either_stage(lock: str) -> None:
    """In evaluate@tuned, or in seeds where evaluate reads all splits as one folder; without either, it is missing."""
    here = Files({"dvc.lock": LOCK_OF_FOLDERS})
    (same,) = judged("ATT021", Files({"dvc.lock": lock}), here)
    assert (same.status, same.sentence) == ("passed", "the test split and the corpus are those of main")
    other = Files({"dvc.lock": lock.replace("test\n      md5: a", "test\n      md5: b")})
    (told,) = judged("ATT021", other, here)
    assert told.is_blocking and "not those of main: data/splits/test; " in told.sentence
    assert [each.status for each in judged("ATT022", other, here)] == ["not applicable"]
    (lacking,) = judged("ATT021", Files({"dvc.lock": "stages: {}"}), here)
    words = "dvc.lock (main) has no hash of data/splits/test in stage evaluate@tuned or seeds"
    assert lacking.is_blocking and words in lacking.sentence


def run_with(champion: str, md5: str = "c", split: str = "a") -> Files:
    """Files of a run with this champion, whose folder has this hash, on a test split of this hash."""
    name = f'{{"name": "{champion}"}}' if champion else "{}"
    lock = LOCK.replace("test\n      md5: a", f"test\n      md5: {split}")
    if champion:
        lock += f"  champion:\n    deps:\n    - path: models/champions/{champion}\n      md5: {md5}\n"
    return Files({"dvc.lock": lock, f"{METRICS}/report.json": f'{{"champion": {name}}}'})


@pytest.mark.parametrize(
    ("before", "here", "status"),
    [
        (run_with("v1"), run_with("v1", split="b"), "passed"),
        (run_with(""), run_with("v1", split="b"), "passed"),  # the first one
        (run_with("v2"), run_with("v1", split="b"), "failed"),
        (run_with("v1"), run_with("v1", md5="d", split="b"), "failed"),  # another folder of this name
        (run_with("v1"), run_with("", split="b"), "failed"),
        (run_with("v2"), run_with("v1"), "passed"),  # on the same test
    ],
)
def test_another_test_needs_the_champion_of_the_revision(before: Files, here: Files, status: str) -> None:
    """A weaker champion chosen in the same change as new data would let any loss pass."""
    (finding,) = judged("ATT021", before, here)
    assert finding.status == status, finding.sentence


@pytest.mark.parametrize(
    ("here", "change"),
    [
        (run_with("v2"), ""),
        (run_with("v1"), "evaluate.champion v2 → v1"),
        (run_with(""), "evaluate.champion v2 → none"),
        (run_with("v2", md5="d"), "evaluate.champion v2 → v2 (another folder of this name)"),
    ],
)
def test_another_champion_is_named_on_top(here: Files, change: str) -> None:
    """The comment begins with it, whatever the other checks then say; a first champion is no looser rule."""
    (finding,) = judged("ATT024", run_with("v2"), here)
    assert (change in finding.sentence) if change else finding.status == "passed"
    assert judged("ATT024", run_with(""), here)[0].status == "passed"


def test_a_first_pull_request_has_nothing_to_compare_with() -> None:
    """main of a new repository has parameters and empty receipts of commands alone; its first model may be merged."""
    main, here = Files({"params.yaml": "", f"{METRICS}/times.json": "{}"}), scored([5, 5])
    for code in ("ATT021", "ATT022"):
        assert [each.status for each in judged(code, main, here)] == ["not applicable"]


PANEL = "merge: {min_retention: 0.98, min_near_domain: 1.0}\nreport: {power: 0.8}\n"
ADVANCED = (
    "gate: {min_delta: 0.01, max_leak_share: 0.0, undecided: fail, ignore: {ATT009: why}, confidence: 0.95, "
    "retired: [a]}\n"
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
        ("undecided: fail", "undecided: warn", "gate.undecided fail → warn"),
        ("ATT009: why", "ATT009: why, ATT011: so", "gate.ignore also lists ATT011"),
        ("retired: [a]", "retired: [a, b c, d]", "gate.retired also lists b c and d"),
        ("max_cost: 0.05", "max_cost: 0.06", "drift.max_cost 0.05 → 0.06"),
        ("min_retention: 0.98", "min_retention: 0.5", "merge.min_retention 0.98 → 0.5"),
        ("power: 0.8", "power: 0.6", "report.power 0.8 → 0.6"),
        ("similar_query: 0.8", "similar_query: 0.95", "prepare.similar_query 0.8 → 0.95"),
        ("min_near_domain: 1.0", "min_near_domain: 0.9", "merge.min_near_domain 1 → 0.9"),
        ("by: cluster", "by: query", "split.by cluster → query"),
        ("counts_as: near_domain", "counts_as: nothing", "probe.tasks.ours.counts_as near_domain → nothing"),
    ],
)
def test_a_looser_limit_is_named_and_a_tighter_one_is_not(old: str, new: str, words: str) -> None:
    """A limit of section gate, or of another section on which a verdict rests, in either parameter file."""
    here = replaced(BEFORE, old, new)
    assert notes(BEFORE, here) == [f"looser here than at main: {words}; merge only if that is meant"]
    assert not notes(here, BEFORE)
    assert not notes(BEFORE, BEFORE)


@pytest.mark.parametrize("value", ["0.6", "0.999"])
def test_another_confidence_is_named_either_way(value: str) -> None:
    """A lower one lets chance pass; a higher one leaves losses undecided."""
    here = replaced(BEFORE, "confidence: 0.95", f"confidence: {value}")
    words = f"looser here than at main: gate.confidence 0.95 → {value}; merge only if that is meant"
    assert notes(BEFORE, here) == [words]


# a revision before advanced.yaml: one file, and thresholds of leaks and a confidence under a second name
FORMER = Files(
    {
        "params.yaml": PANEL + ADVANCED + "split: {near_query: 0.8, near_document: 0.7}\nseeds: {confidence: 0.95}\n",
    }
)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("near_query: 0.8", "near_query: 0.75", "prepare.similar_query 0.75 → 0.8 (there split.near_query)"),
        ("near_document: 0.7", "near_document: 0.6", "prepare.similar_document 0.6 → 0.7 (there split.near_document)"),
        (
            "seeds: {confidence: 0.95}",
            "seeds: {confidence: 0.8}",
            "gate.confidence 0.8 → 0.95 (there seeds.confidence)",
        ),
        ("min_delta: 0.01", "min_delta: 0.02", "gate.min_delta 0.02 → 0.01"),
        ("max_cost: 0.05", "max_cost: 0.04", "drift.max_cost 0.04 → 0.05"),
    ],
)
def test_limits_are_compared_with_a_revision_of_one_file(old: str, new: str, words: str) -> None:
    """A limit that has moved, or whose twin went, is compared with its value under the former name."""
    assert not notes(FORMER, BEFORE)
    there = replaced(FORMER, old, new)
    assert notes(there, BEFORE) == [f"looser here than at main: {words}; merge only if that is meant"]


def test_a_task_that_an_earlier_revision_counted_is_named_when_it_counts_no_longer() -> None:
    """is_counted: true there, counts_as: nothing here; counted as either kind of loss, it is not."""
    there = Files({"advanced.yaml": "probe: {tasks: {ours: {is_counted: true}, shown: {is_counted: false}}}"})
    here = Files({"advanced.yaml": "probe: {tasks: {ours: {counts_as: nothing}, shown: {counts_as: nothing}}}"})
    words = "looser here than at main: probe.tasks.ours.counts_as general → nothing; merge only if that is meant"
    assert notes(there, here) == [words]
    assert not notes(there, replaced(here, "ours: {counts_as: nothing}", "ours: {counts_as: near_domain}"))


def test_limits_that_the_revision_had_not_are_not_compared() -> None:
    """Nor are values that are no numbers, but a check that is ignored is; a file that is not YAML is named."""
    assert notes(Files({}), BEFORE) == [
        "looser here than at main: gate.ignore also lists ATT009; merge only if that is meant"
    ]
    assert not notes(Files({}), replaced(BEFORE, "ATT009: why", ""))
    assert not is_looser("gate.max_loss", "0.1", 0.2)
    for path in ("params.yaml", "advanced.yaml"):
        assert f"{path} (main) is not YAML" in notes(Files({path: "{"}), BEFORE)[0]
