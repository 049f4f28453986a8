"""Building blocks of the gate's rules: figures that must be present, and findings that pass or fail with them."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# yielded by a rule, once per check: whether it passes, and a sentence with the figures
Checks = Iterator[tuple[bool, str]]
REPRO = "run `dvc repro` and commit dvc.lock and metrics/"


@dataclass(frozen=True)
class Finding:
    """One result of a rule: the rule's name, pass or fail, and the figures behind it. A note never fails."""

    rule: str
    passes: bool
    figures: str
    is_note: bool = False


class Missing(Exception):
    """A figure that a rule needs is absent or unreadable."""


class Figures:
    """Figures of a folder of receipts, by file and key, in the working tree or at a revision.

    Args:
        read: returns the text of a file by its path in the folder (such as "probe/base.json"), None without one.
        place: the folder's name in messages.
    """

    def __init__(self, read: Callable[[str], str | None], place: str) -> None:
        self.read, self.place = read, place

    def of(self, file: str, *keys: str) -> Any:  # noqa: ANN401
        """Returns one figure, such as of("report", "paired", "recall@10", "delta").

        Raises:
            Missing: the file or the key is absent, or the file is not JSON.
        """
        path = f"{self.place}/{file}.json"
        text = self.read(f"{file}.json")
        if text is None:
            raise Missing(f"{path} is missing")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise Missing(f"{path} is not JSON ({error})") from None
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                raise Missing(f"{path} has no {' > '.join(keys)}")
            value = value[key]
        return value

    def number(self, file: str, *keys: str) -> float:
        """Returns one figure as a number.

        Raises:
            Missing: it is absent or not a number.
        """
        value = self.of(file, *keys)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Missing(f"{self.place}/{file}.json: {' > '.join(keys)} is {value!r}, not a number")
        return float(value)


def check_rules(rules: Mapping[str, Callable[..., Checks]], *arguments: object) -> list[Finding]:
    """Applies every rule to the same arguments; a rule that lacks a figure fails and names the figure."""
    findings: list[Finding] = []
    for name, rule in rules.items():
        try:
            findings += [Finding(name, passes, sentence) for passes, sentence in rule(*arguments)]
        except Missing as missing:
            findings.append(Finding(name, False, f"{missing}; {REPRO}"))
    return findings
