"""A check: its code, title, what it needs, the paragraph that documents it, and the function that judges."""

from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from inspect import getdoc
from typing import NamedTuple

from attune.evaluation.checks.facts import Facts
from attune.evaluation.checks.limits import GateParams
from attune.evaluation.statistics.decision import Status


class Outcome(NamedTuple):
    """One result of a check: its status, and a sentence with the figures behind it."""

    status: Status
    sentence: str


Outcomes = Iterator[Outcome]
Judge = Callable[[Facts, GateParams], Outcomes]


def judged(is_good: bool, sentence: str) -> Outcome:
    """Returns the outcome of a check that always decides."""
    return Outcome(Status.PASSED if is_good else Status.FAILED, sentence)


def alternatives(need: str) -> list[str]:
    """Returns what meets a need: the need itself, or each of "data or metrics/base_encoder.json"."""
    return need.split(" or ")


@dataclass(frozen=True)
class Check:
    """A check of the catalogue.

    Attributes:
        code: never given to another check.
        title: what is looked at.
        needs: files such as metrics/report.json and dvc.lock; "data", a data set before any run; "revision", a revision
            to compare with; "data or metrics/base_encoder.json" needs one of the two.
        about: the paragraph in docs/gate.md.
        judge: yields one outcome or more from facts and limits; none where the check does not apply.
        fails_gate: whether a failure fails the gate; else it warns.
        on_top: whether the page shows it at its top.
    """

    code: str
    title: str
    needs: tuple[str, ...]
    about: str
    judge: Judge
    fails_gate: bool
    on_top: bool = False

    def is_judged_in(self, places: Set[str]) -> bool:
        """Says if places offer all that it needs: "metrics" offers all files there, other places are needs by name."""
        kinds = ({"metrics" if each.startswith("metrics/") else each for each in alternatives(n)} for n in self.needs)
        return all(each & places for each in kinds)


def check(
    code: str, title: str, *needs: str, fails_gate: bool = True, on_top: bool = False
) -> Callable[[Judge], Check]:
    """Decorates the function that judges: makes it a check, its docstring the paragraph in the docs."""

    def made(judge: Judge) -> Check:
        return Check(code, title, needs, " ".join((getdoc(judge) or "").split()), judge, fails_gate, on_top)

    return made
