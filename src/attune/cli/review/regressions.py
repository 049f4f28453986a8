"""Is it worse than another revision? The gate's rules about what was there before.

Only what is in git is compared, so the rules hold in a clone without data. They are about the same queries in the same
corpus or about nothing: another test split has other figures, whatever the encoder.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from scipy.special import stdtrit

from attune.cli.review.findings import Figures, Missing, Verdicts
from attune.cli.review.history import Revision
from attune.evaluation.scoring.groups import KEPT, read_groups
from attune.stage import PARAMS_FILE, Params

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """A difference of means, new minus old, and its confidence interval."""

    delta: float
    low: float
    high: float


def are_paired(old: Mapping[str, Values], new: Mapping[str, Values]) -> bool:
    """Whether two tables have the same groups, of as many queries each, and at least two of them."""
    same = all(np.array_equal(old[key], new[key]) for key in ("group", "n"))
    return same and len(old["n"]) > 1


def change(old: Mapping[str, Values], new: Mapping[str, Values], measure: str, confidence: float) -> Change:
    """How much a measure's mean over queries changed, with its interval.

    Args:
        old: columns of `groups.read_groups`, each (n_groups,).
        new: the same, of the same groups (`are_paired`).
        measure: which column.
        confidence: of the interval, such as 0.95.
    """
    n, difference = old["n"], new[measure] - old[measure]
    total, weighted = n.sum(), (n * difference).sum()
    delta = weighted / total
    without_one = (weighted - n * difference) / (total - n)
    n_groups = len(n)
    error = np.sqrt((n_groups - 1) / n_groups * ((without_one - without_one.mean()) ** 2).sum())
    reach = error * stdtrit(n_groups - 1, (1 + confidence) / 2)
    return Change(float(delta), float(delta - reach), float(delta + reach))


SYSTEMS = ("tuned", "onnx_int8")
TESTED_ON = ("data/splits/test", "data/prepared/corpus.parquet")
METRICS = "metrics"
SHOWN = 3  # figures named in one line

Read = Callable[[str], str | None]


class AgainstParams(Params):
    """What may be worse than at the revision."""

    confidence: float = Field(gt=0, lt=1)
    max_loss: float = Field(ge=0, le=1)
    max_loss_unpaired: float = Field(ge=0, le=1)
    allow_other_test: bool
    retired: list[str]


def same_test_rule(params: AgainstParams, old: Revision, read: Read) -> Verdicts:
    """Both revisions scored the tuned encoder on the same test split and corpus, by their hashes in dvc.lock."""
    other = _other_inputs(old, read)
    if not other:
        yield True, f"the test split and the corpus are those of {old.name}"
        return
    words = f"not those of {old.name}: {', '.join(other)}; measures of another test cannot be compared"
    hint = "compare with a revision that has the same, or set gate.allow_other_test"
    yield params.allow_other_test, words if params.allow_other_test else f"{words}; {hint}"


def _other_inputs(old: Revision, read: Read) -> list[str]:
    here, there = _inputs(read("dvc.lock"), "here"), _inputs(old.read("dvc.lock"), old.name)
    return [path for path in TESTED_ON if here[path] != there[path]]


@lru_cache(maxsize=2)  # a lock of thousands of lines takes a second to parse
def _inputs(lock: str | None, where: str) -> dict[str, str]:
    """Hashes of what the tuned encoder was scored on, by path."""
    content = YAML(typ="safe", pure=True).load(lock) if lock else {}
    deps = content.get("stages", {}).get("evaluate@tuned", {}).get("deps", [])
    hashes = {dep["path"]: str(dep.get("md5")) for dep in deps}
    lacking = [path for path in TESTED_ON if path not in hashes]
    if lacking:
        raise Missing(f"dvc.lock ({where}) has no hash of {lacking[0]} in stage evaluate@tuned")
    return hashes


def regression_rule(params: AgainstParams, old: Revision, read: Read) -> Verdicts:
    """No measure of what ships is lower than at the revision by more than chance explains."""
    if _other_inputs(old, read):
        return  # the rule above has said so
    before = Figures(lambda path: old.read(f"{METRICS}/{path}"), f"{METRICS}@{old.name}")
    now = Figures(lambda path: read(f"{METRICS}/{path}"), METRICS)
    for system in SYSTEMS:
        tables = _groups(old, read, system)
        if tables and (reason := _unlike(*tables)):
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
                found = change(*tables, measure, params.confidence)
                limit = f"a loss beyond chance and above {params.max_loss:g} (gate.max_loss) fails"
                interval = f"interval {found.low:+.4f} to {found.high:+.4f}"
                yield found.high >= 0 or found.delta >= -params.max_loss, f"{words % found.delta}, {interval}; {limit}"


def _groups(old: Revision, read: Read, system: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    """A system's scores by group at the revision and here; None where the revision kept none."""
    path = f"{METRICS}/plots/groups/{system}.csv"
    texts = old.read(path), read(path)
    if texts[1] is None:
        raise Missing(f"{path} is missing")
    if texts[0] is None:
        return None
    return read_groups(texts[0], f"{path} at {old.name}"), read_groups(texts[1], path)


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Why two tables of scores by group cannot be paired, and what to do; "" where they can."""
    if are_paired(old, new):
        return ""
    n_old, n_new = (f"{len(table['n'])} groups of {table['n'].sum():.0f} test queries" for table in (old, new))
    if n_old == n_new and len(old["n"]) < 2:
        return f"{n_old} have no spread; set evaluate.n_groups to 2 or more"
    return f"{n_new} here, {n_old} there, not the same ones; set evaluate.n_groups and the test split as there"


def keys_rule(params: AgainstParams, old: Revision, read: Read) -> Verdicts:
    """Every figure of the revision is still there: a measure that nobody reports any more cannot get worse."""
    lost, n = [], 0
    for path in old.paths(METRICS, ".json"):
        text = read(path)
        kept = set(_keys(_parsed(text, path)))
        before = [key for key in _keys(_parsed(old.read(path), path)) if not _is_retired(params, path, key)]
        n += len(before)
        gone = [f"{path} has no {key}" for key in before if key not in kept]
        lost += gone if text is not None or not gone else [f"{path} is missing"]
    if not lost:
        yield True, f"all {n} figures of {old.name} are still there"
        return
    more = f" and {len(lost) - SHOWN} more" if len(lost) > SHOWN else ""
    yield False, f"{', '.join(lost[:SHOWN])}{more}, which {old.name} has; restore it, or list it in gate.retired"


def _parsed(text: str | None, path: str) -> Mapping[str, Any]:
    try:
        return dict(json.loads(text)) if text is not None else {}
    except (TypeError, ValueError) as error:
        raise Missing(f"{path} holds no JSON object ({error})") from None


def _is_retired(params: AgainstParams, path: str, key: str) -> bool:
    return any(fnmatchcase(f"{path} {key}", pattern) for pattern in params.retired)


def _keys(content: Any, above: str = "") -> Iterator[str]:  # noqa: ANN401
    """Every scalar's key, those of nested ones joined by dots, as `dvc metrics diff` names them."""
    if not isinstance(content, Mapping):
        yield above
        return
    for key, value in content.items():
        yield from _keys(value, f"{above}.{key}" if above else str(key))


RULES = {"same test": same_test_rule, "regression": regression_rule, "figures": keys_rule}


# limits of other sections, by whose verdicts the gate goes
ELSEWHERE = (
    ("drift", "max_cost"),
    ("drift", "min_neighbour_overlap"),
    ("merge", "min_retention"),
    ("report", "max_dev_decline"),
    ("report", "min_carried_share"),
    ("report", "confidence"),
    ("seeds", "confidence"),
    # what counts as a leak: the higher, the less does
    ("split", "near_query"),
    ("split", "near_document"),
    ("split", "max_leak_share"),
    ("audit", "semantic_query"),
    ("audit", "semantic_document"),
    ("audit", "max_leak_share"),
)


def loosened(old: Revision, read: Read) -> Verdicts:
    """One note for all limits that are looser here than at the revision; none where no limit is."""
    there, here = _sections(old.read(str(PARAMS_FILE)), old.name), _sections(read(str(PARAMS_FILE)), "here")
    changes = list(_looser(there, here))
    if changes:
        yield True, f"looser here than at {old.name}: {', '.join(changes)}; merge only if that is meant"


def _sections(text: str | None, where: str) -> Mapping[str, Any]:
    try:
        found = YAML(typ="safe", pure=True).load(text or "")
    except YAMLError as error:
        raise Missing(f"{PARAMS_FILE} ({where}) is not YAML ({' '.join(str(error).split())})") from None
    return found if isinstance(found, Mapping) else {}


def _looser(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    gate = [("gate", str(key)) for key in here.get("gate") or {}]
    for section, key in (*gate, *ELSEWHERE):
        old, new = ((side.get(section) or {}).get(key) for side in (there, here))
        if isinstance(old, list) and isinstance(new, list):
            if added := [str(entry) for entry in new if entry not in old]:
                yield f"{section}.{key} also lists {' and '.join(added)}"
        elif old is not None and new is not None and is_looser(key, old, new):
            yield f"{section}.{key} {_shown(old)} → {_shown(new)}"
    yield from _uncounted(*((side.get("probe") or {}).get("tasks") or {} for side in (there, here)))


def _uncounted(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Tasks whose loss counted as drift, and no longer does."""
    for name, task in there.items():
        if task.get("is_counted") and not (here.get(name) or {}).get("is_counted", True):
            yield f"probe.tasks.{name}.is_counted true → false"


def is_looser(key: str, old: Any, new: Any) -> bool:  # noqa: ANN401
    """Whether a new value lets more pass: a lower floor, anything else that is higher (a limit, true for false)."""
    if not isinstance(old, int | float) or not isinstance(new, int | float):
        return False
    return new < old if key.startswith("min_") else new > old


def _shown(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
