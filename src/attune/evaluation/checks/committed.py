"""dvc.lock and the files in git."""

from attune.evaluation.checks.facts import REPRO, Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.checks.record import Outcomes, check, judged

MAX_NAMED = 5  # stages or files listed in one message


@check("ATT019", "dvc.lock", "dvc.lock")
def lock(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a stage's command, parameters, code or data differ from those that dvc.lock was made with; stage and
    reason are named. A dvc.lock that was edited together with the figures is not detected: only a run can do that."""
    stale = facts.of("dvc.lock", "stale")
    good = f"dvc.lock matches the code: {facts.of('dvc.lock', 'n_stages')} stages up to date"
    yield judged(not stale, f"dvc.lock is stale: {_listed(stale)} would run again; {REPRO}" if stale else good)


@check("ATT020", "files in git", "dvc.lock")
def files(facts: Facts, limits: GateParams) -> Outcomes:
    """Fails where a file in metrics/ differs from its hash in dvc.lock: edited by hand, missing, or not committed
    together with it."""
    for state, names in facts.of("dvc.lock", "files").items():
        yield judged(False, f"{_listed(names)}: {state}; {REPRO}")
    n = facts.of("dvc.lock", "n_files")
    yield judged(bool(n), f"{n} files in git were compared with their hashes in dvc.lock")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{', '.join(names[:MAX_NAMED])}{more}"
