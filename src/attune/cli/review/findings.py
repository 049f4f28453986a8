"""What the gate's rules are made of: figures that have to be there, and findings that say pass or fail with them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# whether a rule holds, and the figures that say so
Verdicts = Iterator[tuple[bool, str]]
REPRO = "run `dvc repro` and commit dvc.lock and metrics/"


@dataclass(frozen=True)
class Finding:
    """What a rule found: its name, whether it holds, and the figures that say so; a note never fails."""

    rule: str
    is_kept: bool
    figures: str
    is_note: bool = False


class Missing(Exception):
    """A figure that a rule needs is not there."""


class Figures:
    """The figures of a folder of receipts, by file and key, here or at a revision.

    `read` gives a file's text by its path in the folder (such as "probe/base.json"), or None where there is none;
    `place` is the folder's name in messages.
    """

    def __init__(self, read: Callable[[str], str | None], place: str) -> None:
        self.read, self.place = read, place

    def of(self, file: str, *keys: str) -> Any:  # noqa: ANN401
        """One figure, such as of("report", "paired", "recall@10", "delta").

        Raises:
            Missing: the file or the key is not there, or the file is not JSON.
        """
        path = f"{self.place}/{file}.json"
        text = self.read(f"{file}.json")
        if text is None:
            raise Missing(f"{path} is missing")
        try:
            found = json.loads(text)
        except ValueError as error:
            raise Missing(f"{path} is not JSON ({error})") from None
        for key in keys:
            if not isinstance(found, Mapping) or key not in found:
                raise Missing(f"{path} has no {' > '.join(keys)}")
            found = found[key]
        return found

    def number(self, file: str, *keys: str) -> float:
        """One figure that has to be a number.

        Raises:
            Missing: it is not there or not a number.
        """
        found = self.of(file, *keys)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise Missing(f"{self.place}/{file}.json: {' > '.join(keys)} is {found!r}, not a number")
        return float(found)


def applied(rules: Mapping[str, Callable[..., Verdicts]], *arguments: object) -> list[Finding]:
    """Applies every rule to the same arguments; one that lacks a figure fails and says which."""
    findings: list[Finding] = []
    for name, rule in rules.items():
        try:
            findings += [Finding(name, is_kept, words) for is_kept, words in rule(*arguments)]
        except Missing as missing:
            findings.append(Finding(name, False, f"{missing}; {REPRO}"))
    return findings
