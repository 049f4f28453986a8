"""Compares this run with a revision's: the same bytes, another class of CPU, or a fault.

Equal code, data and parameters give equal bytes on one class of CPU. Another class rounds otherwise, so vectors,
weights and scores differ; texts, splits and verdicts must not, and scores may differ as those of two training seeds do.

The rule for that: rounding, like a seed, moves each query's score up or down by chance. So a system's difference on the
same test queries must be below SEED_SHIFT, or have an interval that contains 0: paired by group of clusters
(`metrics/plots/groups/`), at confidence `gate.confidence` for all systems and measures together (Bonferroni). Other
measures have no scores by group in git, hence no interval, and count by their verdicts only. docs/another-cpu.md
compares the rule with seeds and CPUs.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from dvc.exceptions import DvcException
from dvc.repo import Repo

from attune.cli.review.gate import reader
from attune.cli.review.history import Revision
from attune.cli.review.locks import LOCK, Stages, changed, equal_on_all_cpus, inputs, outputs, stages_of
from attune.errors import BadInput
from attune.evaluation.checks.catalogue import by_code, findings
from attune.evaluation.checks.facts import Facts, Read
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.scoring.groups import KEPT, read_groups
from attune.evaluation.statistics.clusters import ClusterSums
from attune.evaluation.statistics.decision import Status
from attune.runtime.arrays import Float64
from attune.stage import PARAMS_FILE, all_params, load_params

METRICS, GROUPS = "metrics", "metrics/plots/groups"
MAX_NAMED = 3  # outputs, inputs or faults listed in one line
DECIDED = (Status.PASSED, Status.FAILED)
# A seed moves the whole encoder, which no interval over queries covers: three classes of CPU moved the default's
# figures by up to .009 (docs/another-cpu.md).
SEED_SHIFT = 0.01

Scores = Mapping[str, Float64]  # columns of `groups.read_groups`


@dataclass(frozen=True)
class Sameness:
    """Result of a comparison: true if it found a fault, a difference that no other CPU explains; and its line."""

    is_fault: bool
    sentence: str


@dataclass(frozen=True)
class Difference:
    """Difference of one measure of one system, here minus there, with its interval."""

    name: str
    delta: float
    low: float
    high: float

    @property
    def is_by_chance(self) -> bool:
        """True if the interval contains 0, or the difference is below SEED_SHIFT."""
        return self.low <= 0 <= self.high or abs(self.delta) < SEED_SHIFT

    def __str__(self) -> str:
        return f"{self.name} {self.delta:+.3f}, interval {self.low:+.3f} to {self.high:+.3f}, beyond what seeds do"


@dataclass(frozen=True)
class Run:
    """One of the two runs.

    Attributes:
        where: in messages, "here" or "at main".
        read: returns the text of a file by its path in the project; None where there is no such file.
    """

    where: str
    read: Read

    @property
    def stages(self) -> Stages:
        """Stages of dvc.lock.

        Raises:
            BadInput: there is none, or it cannot be read.
        """
        if (text := self.read(LOCK)) is None:
            raise BadInput(f"nothing to compare with: no {LOCK} {self.where}; run `dvc repro`")
        return stages_of(text, self.where)

    @property
    def cpu(self) -> str:
        """Class of the CPU as the report records it; "" where it does not."""
        return str(Facts(read=self.read).get("report", "cpu", default=""))


def compare(folder: Path, revision: str) -> Sameness:
    """Compares the project in a folder with a revision, by dvc.lock and metrics/.

    Raises:
        BadInput: it cannot tell: no git history, no such revision, no run on one of the two sides, or other code, data
            or parameters.
    """
    try:
        with Repo(str(folder)) as repo:
            there = _revision(repo, revision, folder)
            return _compared(folder, there)
    except DvcException as error:  # such as: not a git repository
        raise BadInput(f"nothing to compare with: {error}; run in a git repository with a commit") from None


def _revision(repo: Repo, name: str, folder: Path) -> Revision:
    try:
        return Revision(repo, name, folder)
    except BadInput as error:
        raise (BadInput("nothing to compare with: no commit yet; commit first") if name == "HEAD" else error) from None


def _compared(folder: Path, there: Revision) -> Sameness:
    new, old = Run("here", reader(folder)), Run(f"at {there.name}", there.read)
    bytes_changed = changed(outputs(old.stages), outputs(new.stages))
    faults = list(_edited(folder, new.stages))
    if not bytes_changed and not faults:
        return Sameness(False, f"the same bytes as {there.name}")
    if other := changed(inputs(old.stages), inputs(new.stages)):
        raise BadInput(
            f"other inputs than {there.name}: {_listed(other)}; only runs of equal code, data and parameters can be "
            f"compared (dvc metrics diff {there.name} shows what changed)"
        )
    faults += _unexplained(old, new, bytes_changed)
    return _judged(folder, there, new, faults)


def _edited(folder: Path, stages: Stages) -> Iterator[str]:
    """Yields the figures in git that are not those that the run left."""
    for path, md5 in sorted(outputs(stages).items()):
        if path.startswith(f"{METRICS}/"):
            file = folder / path
            if not file.is_file():
                yield f"{path} is missing"
            elif hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != md5:
                yield f"{path} is not as {LOCK} records it (edited by hand?)"


def _unexplained(old: Run, new: Run, bytes_changed: list[str]) -> Iterator[str]:
    """Yields the outputs whose bytes another class of CPU does not explain."""
    if constant := sorted(equal_on_all_cpus(new.stages) & set(bytes_changed)):
        yield f"other bytes in {_listed(constant)}, which no CPU changes"
    elif bytes_changed and old.cpu == new.cpu != "":
        yield f"other bytes on the same class of CPU ({new.cpu}) in {_listed(bytes_changed)}"


def _judged(folder: Path, there: Revision, new: Run, faults: list[str]) -> Sameness:
    """Judges verdicts and scores of two runs of equal inputs and other bytes."""
    limits = load_params(GateParams, "gate", folder / PARAMS_FILE)
    known = {"params": all_params(folder / PARAMS_FILE)}
    turned, undecided = turned_verdicts(Facts(known, there.read), Facts(known, new.read), limits)
    found = differences(_scores(there, new.read), limits.confidence)
    faults = [*faults, *turned, *(str(each) for each in found if not each.is_by_chance)]
    if faults:
        return Sameness(True, f"a fault, compared with {there.name}: {_listed(faults, '; ')}")
    verdicts = f"every verdict the same{f' but {_listed(undecided)}' if undecided else ''}"
    classes = f"({new.cpu or 'not recorded'} here, {Run('', there.read).cpu or 'not recorded'} at {there.name})"
    return Sameness(False, f"another class of CPU {classes}: {verdicts}, {_largest(found)}")


def turned_verdicts(there: Facts, here: Facts, limits: GateParams) -> tuple[list[str], list[str]]:
    """Returns in words the verdicts that turned, and those that one side decided and the other could not.

    A check that cannot tell has an interval around its limit, which scores within what seeds do may cross.
    """
    old, new = (by_code(findings(side, limits, [METRICS])) for side in (there, here))
    turned: list[str] = []
    undecided: list[str] = []
    for code, row in new.items():
        before, now = Status(old[code]["status"]), Status(row["status"])
        if before != now:
            is_turned = before in DECIDED and now in DECIDED
            (turned if is_turned else undecided).append(f"{code} {row['title']} ({before} there, {now} here)")
    needs = [side.get("drift", "is_reindex_needed", default=False) for side in (there, here)]
    if needs[0] != needs[1]:
        turned.append(
            f"re-index ({'needed' if needs[0] else 'not needed'} there, {'' if needs[1] else 'not '}needed here)"
        )
    return turned, undecided


def _scores(there: Revision, read: Read) -> dict[str, tuple[Scores, Scores]]:
    """Returns each system's scores by group, there and here.

    Raises:
        BadInput: no system has scores of the same two groups or more, so chance cannot be told.
    """
    pairs: dict[str, tuple[Scores, Scores]] = {}
    for path in there.paths(GROUPS, ".csv"):
        old, new = (read_groups(text or "", path) for text in (there.read(path), read(path)))
        if len(new["n"]) > 1 and all(np.array_equal(old[key], new[key]) for key in ("group", "n")):
            pairs[Path(path).stem] = (old, new)
    if not pairs:
        raise BadInput(f"{GROUPS}: expected scores of at least 2 groups, the same ones; see evaluate.n_groups")
    return pairs


def differences(pairs: Mapping[str, tuple[Scores, Scores]], confidence: float) -> list[Difference]:
    """Returns the difference of each system and measure, with intervals that cover together.

    Args:
        pairs: scores by group of each system, there and here, of the same groups.
        confidence: of all intervals together; each has more, by Bonferroni.
    """
    each = 1 - (1 - confidence) / (len(pairs) * len(KEPT))
    found = []
    for system, (old, new) in pairs.items():
        for measure in KEPT:
            sums = ClusterSums(new["n"] * (new[measure] - old[measure]), new["n"])
            low, high = sums.interval(each)
            found.append(Difference(f"{measure} of {system}", float(sums.mean), float(low), float(high)))
    return found


def _largest(found: list[Difference]) -> str:
    """Names the largest difference, and says what its interval leaves open where no seed moves a score so far."""
    largest = max(found, key=lambda each: abs(each.delta))
    size = "below .001" if abs(largest.delta) < 0.0005 else f"{abs(largest.delta):.3f}".removeprefix("0")
    words = f"largest difference {size} ({largest.name})"
    if abs(largest.delta) < SEED_SHIFT:
        return f"{words}, within what seeds do"
    return f"{words}, interval {largest.low:+.3f} to {largest.high:+.3f}: these queries cannot tell it from chance"


def _listed(names: list[str], between: str = ", ") -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{between.join(names[:MAX_NAMED])}{more}"
