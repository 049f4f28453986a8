"""Limits that a change makes looser: a model that passes by another limit than its target's has to say so.

Whether that is meant is for people to judge, so nothing fails here; what changed is named where nobody overlooks it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.cli.review.findings import Missing, Verdicts
from attune.cli.review.regressions import Read
from attune.cli.review.revision import Revision
from attune.stage import PARAMS_FILE

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
