"""Gate rules against a revision: no measure is significantly worse, no figure has vanished, looser limits are named.

Only files in git are compared, so the rules hold in a clone without data. Measures are compared only on the same test
queries in the same corpus: another test split has other figures, whatever the encoder.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.cli.review.findings import Checks, Figures, Missing
from attune.cli.review.history import Revision
from attune.evaluation.scoring.groups import KEPT, read_groups
from attune.evaluation.statistics.clusters import ClusterSums
from attune.runtime.arrays import Float64
from attune.stage import ADVANCED_FILE, PARAMS_FILE, Params

GATED_SYSTEMS = ("tuned", "onnx_int8")
TESTED_ON = ("data/splits/test", "data/prepared/corpus.parquet")
TESTED_BY = ("evaluate@tuned", "seeds")  # stages that record these inputs; the first one's hash counts
METRICS = "metrics"
MAX_NAMED = 3  # figures listed in one message
NOT_COUNTED = "nothing"  # counts_as of a task of the probe whose loss is shown only

Read = Callable[[str], str | None]


class RevisionParams(Params):
    """Limits on what may be worse than at the revision."""

    confidence: float = Field(gt=0, lt=1)
    max_loss: float = Field(ge=0, le=1)
    max_loss_unpaired: float = Field(ge=0, le=1)
    allow_other_test: bool
    retired: list[str]


@dataclass(frozen=True)
class MeanDifference:
    """Difference of two means over queries, new minus old, and its confidence interval."""

    delta: float
    low: float
    high: float


def mean_difference(
    old: Mapping[str, Float64], new: Mapping[str, Float64], measure: str, confidence: float
) -> MeanDifference:
    """Returns the paired difference of a measure's mean over queries, with a delete-one-group jackknife interval.

    A group is a set of whole clusters, so groups are independent; each counts by its number of queries.

    Args:
        old: columns of `groups.read_groups`, each (n_groups,).
        new: the same, of the same groups (`have_same_groups`).
        measure: name of the column.
        confidence: of the interval, such as 0.95.
    """
    sums = ClusterSums(old["n"] * (new[measure] - old[measure]), old["n"])
    low, high = sums.interval(confidence)
    return MeanDifference(float(sums.mean), float(low), float(high))


def have_same_groups(old: Mapping[str, Float64], new: Mapping[str, Float64]) -> bool:
    """Tells whether two tables have the same groups, with equally many queries each, and at least two of them."""
    same = all(np.array_equal(old[key], new[key]) for key in ("group", "n"))
    return same and len(old["n"]) > 1


def same_test_rule(params: RevisionParams, old: Revision, read: Read) -> Checks:
    """Both revisions scored the tuned encoder on the same test split and corpus, by their hashes in dvc.lock."""
    changed = _changed_inputs(old, read)
    if not changed:
        yield True, f"the test split and the corpus are those of {old.name}"
        return
    words = f"not those of {old.name}: {', '.join(changed)}; measures of another test cannot be compared"
    hint = "compare with a revision that has the same, or set gate.allow_other_test"
    yield params.allow_other_test, words if params.allow_other_test else f"{words}; {hint}"


def _changed_inputs(old: Revision, read: Read) -> list[str]:
    here, there = _input_hashes(read("dvc.lock"), "here"), _input_hashes(old.read("dvc.lock"), old.name)
    return [path for path in TESTED_ON if here[path] != there[path]]


@lru_cache(maxsize=2)  # a lock of thousands of lines takes a second to parse
def _input_hashes(lock: str | None, where: str) -> dict[str, str]:
    """Returns the hashes of the inputs that the tuned encoder was scored on, by path."""
    stages = (YAML(typ="safe", pure=True).load(lock) if lock else {}).get("stages", {})
    deps = [dep for name in reversed(TESTED_BY) for dep in stages.get(name, {}).get("deps", [])]
    hashes = {dep["path"]: str(dep.get("md5")) for dep in deps}
    lacking = [path for path in TESTED_ON if path not in hashes]
    if lacking:
        raise Missing(f"dvc.lock ({where}) has no hash of {lacking[0]} in stage {' or '.join(TESTED_BY)}")
    return hashes


def regression_rule(params: RevisionParams, old: Revision, read: Read) -> Checks:
    """No measure of tuned or int8 is lower than at the revision by more than chance explains."""
    if _changed_inputs(old, read):
        return  # same_test_rule has said so
    before = Figures(lambda path: old.read(f"{METRICS}/{path}"), f"{METRICS}@{old.name}")
    now = Figures(lambda path: read(f"{METRICS}/{path}"), METRICS)
    for system in GATED_SYSTEMS:
        tables = _groups(old, read, system)
        if tables and (reason := _why_unpaired(*tables)):
            words = f"{system} cannot be compared with {old.name}: {reason}"
            yield params.allow_other_test, f"{words}, or set gate.allow_other_test for this once"
            continue
        for measure in KEPT:
            words = f"{system} {measure} %+.4f against {old.name}"
            if tables is None:
                delta = now.number(system, measure) - before.number(system, measure)
                limit = f"may lose {params.max_loss_unpaired:g} (gate.max_loss_unpaired)"
                yield (
                    delta >= -params.max_loss_unpaired,
                    f"{words % delta}, without an interval as it keeps no groups; {limit}",
                )
            else:
                change = mean_difference(*tables, measure, params.confidence)
                limit = f"a loss beyond chance and above {params.max_loss:g} (gate.max_loss) fails"
                interval = f"interval {change.low:+.4f} to {change.high:+.4f}"
                passes = change.high >= 0 or change.delta >= -params.max_loss
                yield passes, f"{words % change.delta}, {interval}; {limit}"


def _groups(old: Revision, read: Read, system: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """Returns a system's scores by group at the revision and here; None where the revision kept none."""
    path = f"{METRICS}/plots/groups/{system}.csv"
    texts = old.read(path), read(path)
    if texts[1] is None:
        raise Missing(f"{path} is missing")
    if texts[0] is None:
        return None
    return read_groups(texts[0], f"{path} at {old.name}"), read_groups(texts[1], path)


def _why_unpaired(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Returns why two tables of scores by group cannot be paired, with the next step; "" where they can."""
    if have_same_groups(old, new):
        return ""
    n_old, n_new = (f"{len(table['n'])} groups of {table['n'].sum():.0f} test queries" for table in (old, new))
    if n_old == n_new and len(old["n"]) < 2:
        return f"{n_old} have no spread; set evaluate.n_groups to 2 or more"
    return f"{n_new} here, {n_old} there, not the same ones; set evaluate.n_groups and the test split as there"


def keys_rule(params: RevisionParams, old: Revision, read: Read) -> Checks:
    """Every figure of the revision is still there: a measure that is no longer reported cannot get worse."""
    lost, n_figures = [], 0
    for path in old.paths(METRICS, ".json"):
        text = read(path)
        kept = set(_keys(_parsed(text, path)))
        before = [key for key in _keys(_parsed(old.read(path), path)) if not _is_retired(params, path, key)]
        n_figures += len(before)
        gone = [f"{path} has no {key}" for key in before if key not in kept]
        lost += gone if text is not None or not gone else [f"{path} is missing"]
    if not lost:
        yield True, f"all {n_figures} figures of {old.name} are still there"
        return
    more = f" and {len(lost) - MAX_NAMED} more" if len(lost) > MAX_NAMED else ""
    yield False, f"{', '.join(lost[:MAX_NAMED])}{more}, which {old.name} has; restore it, or list it in gate.retired"


def _parsed(text: str | None, path: str) -> Mapping[str, Any]:
    try:
        return dict(json.loads(text)) if text is not None else {}
    except (TypeError, ValueError) as error:
        raise Missing(f"{path} holds no JSON object ({error})") from None


def _is_retired(params: RevisionParams, path: str, key: str) -> bool:
    return any(fnmatchcase(f"{path} {key}", pattern) for pattern in params.retired)


def _keys(content: Any, above: str = "") -> Iterator[str]:  # noqa: ANN401
    """Yields every scalar's key, nested ones joined by dots, as `dvc metrics diff` names them."""
    if not isinstance(content, Mapping):
        yield above
        return
    for key, value in content.items():
        yield from _keys(value, f"{above}.{key}" if above else str(key))


REVISION_RULES = {"same test": same_test_rule, "regression": regression_rule, "figures": keys_rule}


# Limits outside section gate on which verdicts rest, by their present home; in brackets, the other keys that held the
# limit in earlier revisions, all of which a new value is compared with.
VERDICT_LIMITS: dict[str, tuple[str, ...]] = {
    "drift.max_cost": (),
    "drift.min_neighbour_overlap": (),
    "merge.min_retention": (),
    "merge.min_near_domain": (),
    "report.max_dev_decline": (),
    "report.min_carried_share": (),
    "report.confidence": ("seeds.confidence",),
    # thresholds above which two texts count as a leak: the higher they are, the fewer leaks are counted
    "prepare.similar_query": ("split.near_query",),
    "prepare.similar_document": ("split.near_document",),
    "split.max_leak_share": (),
    "audit.semantic_query": (),
    "audit.semantic_document": (),
    "audit.semantic_crossed": (),
    "audit.max_leak_share": (),
}

Sections = Mapping[str, Mapping[str, Any]]


def loosened(old: Revision, read: Read) -> Checks:
    """One note naming all limits that are looser here than at the revision; none where no limit is."""
    changes = list(_looser(_sections(old.read, old.name), _sections(read, "here")))
    if changes:
        yield True, f"looser here than at {old.name}: {', '.join(changes)}; merge only if that is meant"


def _sections(read: Read, where: str) -> Sections:
    """Returns the sections of both parameter files, merged; a revision may have params.yaml only, or neither."""
    merged: dict[str, dict[str, Any]] = {}
    for file in (PARAMS_FILE, ADVANCED_FILE):
        try:
            content = YAML(typ="safe").load(read(str(file)) or "")
        except YAMLError as error:
            raise Missing(f"{file} ({where}) is not YAML ({' '.join(str(error).split())})") from None
        for section, values in content.items() if isinstance(content, Mapping) else ():
            if isinstance(values, Mapping):
                merged.setdefault(str(section), {}).update(values)
    return merged


def _looser(there: Sections, here: Sections) -> Iterator[str]:
    gate: dict[str, tuple[str, ...]] = {f"gate.{key}": () for key in here.get("gate", {})}
    for home, former in (gate | VERDICT_LIMITS).items():
        new = _value(here, home)
        for name in (home, *former):
            old, origin = _value(there, name), "" if name == home else f" (there {name})"
            if isinstance(old, list) and isinstance(new, list):
                if added := [str(entry) for entry in new if entry not in old]:
                    yield f"{home} also lists {' and '.join(added)}"
            elif old is not None and new is not None and is_looser(home, old, new):
                yield f"{home} {_shown(old)} → {_shown(new)}{origin}"
                break
    before, now = (_value(side, "split.by") or "cluster" for side in (there, here))
    if (before, now) == ("cluster", "query"):
        yield "split.by cluster → query"
    yield from _uncounted(*(side.get("probe", {}).get("tasks") or {} for side in (there, here)))


def _value(sections: Sections, name: str) -> Any:  # noqa: ANN401
    section, _, key = name.partition(".")
    return sections.get(section, {}).get(key)


def _uncounted(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yields the tasks whose loss counted and no longer does; one that is gone is a missing figure (`keys_rule`)."""
    for name, task in there.items():
        before, now = _counts_as(task), _counts_as(here[name] or {}) if name in here else ""
        if before != NOT_COUNTED == now:
            yield f"probe.tasks.{name}.counts_as {before} → {now}"


def _counts_as(task: Mapping[str, Any]) -> str:
    """Returns what a task's loss counts as; earlier revisions tell only whether it counts (is_counted)."""
    return str(task.get("counts_as", "general" if task.get("is_counted") else NOT_COUNTED))


def is_looser(name: str, old: Any, new: Any) -> bool:  # noqa: ANN401
    """Returns True if the limit is looser: a min_* lowered, another limit raised, or false turned to true."""
    if not isinstance(old, int | float) or not isinstance(new, int | float):
        return False
    return new < old if name.rpartition(".")[2].startswith("min_") else new > old


def _shown(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
