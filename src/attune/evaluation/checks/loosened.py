"""Limits that are looser than at a revision."""

from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.evaluation.checks.facts import Facts, Missing, Read
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcomes, check, judged
from attune.evaluation.checks.revision import Champion, champion_here, champion_of, snapshot
from attune.stage import ADVANCED_FILE, PARAMS_FILE

NOT_COUNTED = "nothing"  # counts_as of a task of the probe whose loss is shown only

# Limits outside section gate on which verdicts rest, by their present home; in brackets, the other keys that held the
# limit in earlier revisions, all of which a new value is compared with.
VERDICT_LIMITS: dict[str, tuple[str, ...]] = {
    "drift.max_cost": (),
    "drift.min_neighbour_overlap": (),
    "drift.min_same_cosine": (),
    "drift.min_stale_overlap": (),
    "merge.min_retention": (),
    "merge.min_near_domain": (),
    "report.max_dev_decline": (),
    "report.min_carried_share": (),
    "report.max_slice_loss": (),
    "report.power": (),
    "gate.confidence": ("report.confidence", "seeds.confidence"),
    # thresholds above which two texts count as a leak: the higher they are, the fewer leaks are counted
    "prepare.similar_query": ("split.near_query",),
    "prepare.similar_document": ("split.near_document",),
    "split.max_leak_share": (),
    "audit.semantic_query": (),
    "audit.semantic_document": (),
    "audit.semantic_crossed": (),
    "audit.max_leak_share": (),
}

# Knobs with a strict and a loose value; in brackets, the other keys that held them in earlier revisions.
VERDICT_WORDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "split.by": ("cluster", "query", ()),
    "gate.undecided": ("fail", "warn", ()),
    "merge.keep": ("best", "last", ("train.keep",)),  # last heeds neither dev nor a floor
}

Sections = Mapping[str, Mapping[str, Any]]


@check("ATT024", "looser limits", "revision", fails_gate=False)
def loosened(facts: Facts, limits: GateParams) -> Outcomes:
    """Names each limit on which a verdict rests that is looser here than at the revision, each check that is ignored
    here only, and a champion that is none here or another one. Never fails the gate, as a limit may have to give; the
    comment shows it on top."""
    there = snapshot(facts)
    changes = list(_looser(_sections(there.read, there.name), _sections(facts.read, "here")))
    changes += _changed_champion(champion_of(there.read), champion_here(facts))
    words = f"looser here than at {there.name}: {', '.join(changes)}; merge only if that is meant"
    yield judged(not changes, words if changes else f"no limit is looser than at {there.name}")


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
            if isinstance(new, dict) or (isinstance(new, list) and isinstance(old, list)):
                if added := [str(entry) for entry in new if entry not in (old or ())]:
                    yield f"{home} also lists {' and '.join(added)}"
            elif old is not None and new is not None and is_looser(home, old, new):
                yield f"{home} {_shown(old)} → {_shown(new)}{origin}"
                break
    for home, (strict, loose, former) in VERDICT_WORDS.items():
        before = next(filter(None, (_value(there, name) for name in (home, *former))), strict)
        if (before, _value(here, home)) == (strict, loose):
            yield f"{home} {strict} → {loose}"
    yield from _uncounted(*(side.get("probe", {}).get("tasks") or {} for side in (there, here)))


def _value(sections: Sections, name: str) -> Any:  # noqa: ANN401
    section, _, key = name.partition(".")
    return sections.get(section, {}).get(key)


def _uncounted(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    """Yields the tasks whose loss counted and no longer does; one that is gone is a missing figure (ATT023)."""
    for name, task in there.items():
        before, now = _counts_as(task), _counts_as(here[name] or {}) if name in here else ""
        if before != NOT_COUNTED == now:
            yield f"probe.tasks.{name}.counts_as {before} → {now}"


def _counts_as(task: Mapping[str, Any]) -> str:
    """Returns what a task's loss counts as; earlier revisions tell only whether it counts (is_counted)."""
    return str(task.get("counts_as", "general" if task.get("is_counted") else NOT_COUNTED))


def is_looser(name: str, old: Any, new: Any) -> bool:  # noqa: ANN401
    """Returns True if the limit is looser: a min_* or the power lowered, another limit raised, or false turned to true.

    A confidence is looser either way: a lower one lets chance pass, a higher one leaves losses undecided.
    """
    if not isinstance(old, int | float) or not isinstance(new, int | float):
        return False
    if name.endswith(".confidence"):
        return new != old
    return new < old if name.rpartition(".")[2].startswith(("min_", "power")) else new > old


def _changed_champion(there: Champion, here: Champion) -> Iterator[str]:
    """Yields that the champion, against which ATT046 judges, is another one or none; a first one only tightens."""
    if there.name and here != there:
        same_name = " (another folder of this name)" if here.name == there.name else ""
        yield f"evaluate.champion {there.name} → {here.name or 'none'}{same_name}"


def _shown(value: float) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"
