"""Against a revision: no measure is worse, no figure has vanished, looser limits are named.

Only files in git are compared, so this holds in a clone without data. Measures are compared only on the same test
queries in the same corpus: another test split has other figures, whatever the encoder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from ruamel.yaml import YAML

from attune.evaluation.checks.facts import Facts, Missing, Read, Snapshot
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.losses import loss_outcome, worded
from attune.evaluation.checks.record import Outcome, Outcomes, check, judged
from attune.evaluation.scoring.groups import KEPT, read_groups
from attune.evaluation.statistics.clusters import ClusterSums
from attune.evaluation.statistics.decision import Change, Status, decision_interval
from attune.evaluation.statistics.sign_flips import exact_p
from attune.runtime.arrays import Float64

GATED_SYSTEMS = ("tuned", "tuned_int8")
FORMER_NAMES = {"tuned_int8": "onnx_int8"}  # of systems at earlier revisions
TESTED_ON = ("data/splits/test", "data/prepared/corpus.parquet")
TESTED_BY = ("evaluate@tuned", "seeds")  # stages that record these inputs; the first one's hash counts
CHAMPIONS = "models/champions"
MAX_NAMED = 3  # figures listed in one message


class Champion(NamedTuple):
    """Released encoder that tuned is compared with; empty texts where there is none.

    Attributes:
        name: evaluate.champion of the run.
        md5: hash of its folder in dvc.lock.
    """

    name: str = ""
    md5: str = ""


Groups = Mapping[str, Float64]


@check("ATT021", "same test", "revision", "dvc.lock")
def same_test(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where the test split or the corpus differ from the revision's, so that no measure can be compared with it,
    and no champion (ATT046) is scored on today's test in its place. The champion has to be the revision's, if that has
    one: a weaker one in the same change would excuse any loss. `gate.allow_other_test` excuses one commit by its
    hash, such as `{1a2b3c4: 'a week of new rows'}`; compared with a later commit, the excuse has expired. Not
    applicable where the revision has never run the pipeline, as that of a new repository."""
    there = snapshot(facts)
    if not has_run(there):
        yield Outcome(
            Status.NOT_APPLICABLE, f"{there.name} has never run the pipeline: there is nothing to compare with"
        )
        return
    changed = changed_inputs(facts)
    if not changed:
        yield judged(True, f"the test split and the corpus are those of {there.name}")
        return
    words = f"not those of {there.name}: {', '.join(changed)}; measures of another test cannot be compared"
    excuses = [why for commit, why in limits.allow_other_test.items() if there.commit.startswith(commit)]
    champion, former = champion_here(facts), champion_of(there.read)
    if champion.name and former in (champion, Champion()):
        yield judged(True, f"{words}; champion {champion.name} is scored on today's test (ATT046)")
    elif excuses:
        yield judged(True, f"{words}; excused by gate.allow_other_test ({excuses[0]})")
    elif champion.name:
        words += (
            f"; champion {champion.name} is not that of {there.name} ({former.name}): change it in a commit of its "
        )
        yield judged(False, f"{words}own, on the test of {there.name}, or keep {former.name}")
    else:
        words += "; set evaluate.champion to what main ships, which is scored on today's test, or excuse this commit: "
        yield judged(False, f"{words}gate.allow_other_test: {{{there.commit[:7]}: 'the reason'}}")


@check("ATT022", "regression", "revision", "dvc.lock")
def regression(facts: Facts, limits: GateParams) -> Outcomes:
    """No measure of the tuned encoder or of the int8 file may be lower than at the revision by more than `gate.margin`.
    Each evaluation keeps the mean scores of 100 groups of test queries (metrics/plots/groups); a query's group is a
    hash of its cluster's id, so revisions scored on the same queries are compared group by group. Passes, fails and is
    undecided as ATT007, and passes where vectors and scores are the same. A revision without groups leaves it
    undecided, one with others (`evaluate.n_groups`) fails. Not applicable where the test differs or the revision has
    never run the pipeline (ATT021); there the champion, scored on today's test, tells a regression (ATT046)."""
    for system in () if not has_run(snapshot(facts)) or changed_inputs(facts) else GATED_SYSTEMS:
        tables = _groups(facts, system)
        if tables is None:
            words = "keeps no scores by group, so that a change cannot be told from chance"
            yield Outcome(Status.UNDECIDED, f"{system}: {snapshot(facts).name} {words}")
        elif reason := _why_unpaired(*tables):
            yield judged(False, f"{system} cannot be compared with {snapshot(facts).name}: {reason}")
        elif _are_same(facts, system, *tables):
            yield judged(True, f"{system} has the vectors and the scores of {snapshot(facts).name}")
        else:
            yield from (_by_groups(facts, limits, system, measure, *tables) for measure in KEPT)


def changes_since(facts: Facts, limits: GateParams, system: str) -> dict[str, Change]:
    """Returns a system's change since the revision by measure, on the same test.

    Raises:
        Missing: no run there, another test, or no scores by group that can be paired.
    """
    if not has_run(snapshot(facts)):
        raise Missing("has never run the pipeline")
    if changed_inputs(facts):
        raise Missing("another test, not compared")
    tables = _groups(facts, system)
    if tables is None or _why_unpaired(*tables):
        raise Missing("no scores by group to compare with")
    return {measure: _change(facts, limits, measure, *tables) for measure in KEPT}


@check("ATT023", "figures", "revision")
def figures(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a figure of the revision is missing here, because a measure that is no longer reported cannot get
    worse; list it in `gate.retired` if that is intended."""
    there, lost, n_figures = snapshot(facts), [], 0
    for path in there.paths("metrics", ".json"):
        text = facts.read(path)
        kept = set(_keys(_parsed(text, path)))
        before = [key for key in _keys(_parsed(there.read(path), path)) if not _is_retired(limits, path, key)]
        n_figures += len(before)
        gone = [f"{path} has no {key}" for key in before if key not in kept]
        lost += gone if text is not None or not gone else [f"{path} is missing"]
    more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
    words = f"{', '.join(lost[:MAX_NAMED])}{more}, which {there.name} has; restore it, or list it in gate.retired"
    yield judged(not lost, words if lost else f"all {n_figures} figures of {there.name} are still there")


def snapshot(facts: Facts) -> Snapshot:
    """Returns the revision; raises Missing where there is none."""
    if facts.revision is None:
        raise Missing("no revision to compare with")
    return facts.revision


def has_run(there: Snapshot) -> bool:
    """Tells whether a revision holds results of the pipeline: its lock, or a report."""
    return any(there.read(path) is not None for path in ("dvc.lock", "metrics/report.json"))


def champion_of(read: Read) -> Champion:
    """Returns the champion of the run whose files these are."""
    return champion_here(Facts(read=read))


def champion_here(facts: Facts) -> Champion:
    """Returns the champion of the run that is judged."""
    if not (name := str(facts.get("report", "champion", "name", default=""))):
        return Champion()
    return Champion(name, _hashes(facts.read("dvc.lock"), ("champion",)).get(f"{CHAMPIONS}/{name}", ""))


def mean_difference(old: Groups, new: Groups, measure: str, confidence: float, cluster_size: float = 1) -> Change:
    """Returns the paired difference of a measure's mean over queries, with its interval and exact p-value.

    A group is a set of whole clusters, so groups are independent; each counts by its number of queries.

    Args:
        old: columns of `groups.read_groups`, each (n_groups,).
        new: the same, of the same groups (`have_same_groups`).
        measure: name of the column.
        confidence: of the interval, such as 0.95.
        cluster_size: mean number of queries per cluster; a cluster wins or loses as a whole.
    """
    sums = ClusterSums(old["n"] * (new[measure] - old[measure]), old["n"])
    low, high = decision_interval(sums, confidence, cluster_size)
    return Change(float(sums.mean), float(low), float(high), exact_p(sums.sums))


def have_same_groups(old: Groups, new: Groups) -> bool:
    """Tells whether two tables have the same groups, with equally many queries each, and at least two of them."""
    same = all(np.array_equal(old[key], new[key]) for key in ("group", "n"))
    return same and len(old["n"]) > 1


def _by_groups(facts: Facts, limits: GateParams, system: str, measure: str, old: Groups, new: Groups) -> Outcome:
    change, n = _change(facts, limits, measure, old, new), _counts(facts, old)
    words = f"{system} {measure} {worded(change, 4)} against {snapshot(facts).name}"
    return loss_outcome(words, change, None, limits.margin, n, limits)


def _change(facts: Facts, limits: GateParams, measure: str, old: Groups, new: Groups) -> Change:
    n, n_clusters = _counts(facts, old)
    return mean_difference(old, new, measure, limits.confidence, n / n_clusters)


def _counts(facts: Facts, table: Groups) -> tuple[int, int]:
    """Returns the numbers of test queries and of their clusters."""
    n = int(table["n"].sum())
    return n, min(n, int(facts.get("report", "n_test_clusters", default=n)))


def _are_same(facts: Facts, system: str, old: Groups, new: Groups) -> bool:
    """Tells whether dvc.lock records the same vectors on both sides, and all groups score the same."""
    there = snapshot(facts)
    here, before = (
        _hashes(lock, (f"evaluate@{system}",)).get(f"data/embeddings/{system}")
        for lock in (facts.read("dvc.lock"), there.read("dvc.lock"))
    )
    return here is not None and here == before and all(np.array_equal(old[key], new[key]) for key in KEPT)


def changed_inputs(facts: Facts) -> list[str]:
    """Returns what the tuned encoder was scored on, as far as it differs from the revision's, by path."""
    there = snapshot(facts)
    sides = _inputs(facts.read("dvc.lock"), "here"), _inputs(there.read("dvc.lock"), there.name)
    return [path for path in TESTED_ON if sides[0][path] != sides[1][path]]


def _inputs(lock: str | None, where: str) -> Mapping[str, str]:
    """Returns the hashes of the inputs that the tuned encoder was scored on, by path."""
    hashes = _hashes(lock, TESTED_BY)
    lacking = [path for path in TESTED_ON if path not in hashes]
    if lacking:
        raise Missing(f"dvc.lock ({where}) has no hash of {lacking[0]} in stage {' or '.join(TESTED_BY)}")
    return hashes


def _hashes(lock: str | None, names: Sequence[str]) -> dict[str, str]:
    """Returns the hashes of the inputs of some stages, by path; those of the first stages count."""
    stages = _stages(lock)
    deps = [dep for name in reversed(names) for dep in stages.get(name, {}).get("deps", [])]
    return {dep["path"]: str(dep.get("md5")) for dep in deps}


@lru_cache(maxsize=2)  # a lock of thousands of lines takes a second to parse
def _stages(lock: str | None) -> Mapping[str, Any]:
    return dict((YAML(typ="safe").load(lock) if lock else {}).get("stages", {}))


def _groups(facts: Facts, system: str) -> tuple[Groups, Groups] | None:
    """Returns a system's scores by group at the revision and here; None where the revision kept none."""
    path, there = f"metrics/plots/groups/{system}.csv", snapshot(facts)
    former = f"metrics/plots/groups/{FORMER_NAMES.get(system, system)}.csv"
    old, new = there.read(path) or there.read(former), facts.read(path)
    if new is None:
        raise Missing(f"{path} is missing")
    return None if old is None else (read_groups(old, f"{path} at {there.name}"), read_groups(new, path))


def _why_unpaired(old: Groups, new: Groups) -> str:
    """Returns why two tables of scores by group cannot be paired, with the next step; "" where they can."""
    if have_same_groups(old, new):
        return ""
    n_old, n_new = (f"{len(table['n'])} groups of {table['n'].sum():.0f} test queries" for table in (old, new))
    if n_old == n_new and len(old["n"]) < 2:
        return f"{n_old} have no spread; set evaluate.n_groups to 2 or more"
    return f"{n_new} here, {n_old} there, not the same ones; set evaluate.n_groups and the test split as there"


def _parsed(text: str | None, path: str) -> Mapping[str, Any]:
    try:
        return dict(json.loads(text)) if text is not None else {}
    except (TypeError, ValueError) as error:
        raise Missing(f"{path} holds no JSON object ({error})") from None


def _is_retired(limits: GateParams, path: str, key: str) -> bool:
    return any(fnmatchcase(f"{path} {key}", pattern) for pattern in limits.retired)


def _keys(content: Any, above: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yields every scalar's key, nested ones joined by dots, as `dvc metrics diff` names them."""
    if not isinstance(content, Mapping):
        yield above
        return
    for key, value in content.items():
        yield from _keys(value, f"{above}.{key}" if above else str(key))
