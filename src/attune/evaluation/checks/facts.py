"""Facts that checks judge: receipts in memory or in metrics/, a data set before any run, a revision to compare with."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Read = Callable[[str], str | None]
REPRO = "run `dvc repro` and commit dvc.lock and metrics/"


class Missing(Exception):
    """A figure that a check needs is absent or unreadable."""


class Snapshot(Protocol):
    """Files of a project at a revision; `commit` is its hash."""

    name: str
    commit: str

    def read(self, path: str) -> str | None:
        """Returns a file's text by its path in the project; None where there is no such file."""

    def paths(self, folder: str, suffix: str) -> list[str]:
        """Returns the paths of the files below a folder whose names end with `suffix`, sorted."""


@dataclass(frozen=True)
class Facts:
    """Facts by name, such as "report" for metrics/report.json.

    Attributes:
        known: facts in memory, by name: receipts, "params" (all sections), "data", "dvc.lock".
        read: returns the text of a file by its path in the project; None where there is no such file.
        revision: to compare with; None where there is none.
    """

    known: Mapping[str, Any] = field(default_factory=dict)
    read: Read = lambda _: None
    revision: Snapshot | None = None

    def of(self, name: str, *keys: str) -> Any:  # noqa: ANN401
        """Returns one fact, such as of("report", "paired", "recall@10", "delta").

        Raises:
            Missing: the file or the key is absent, or the file holds no JSON.
        """
        value = self.known[name] if name in self.known else self._parsed(name)
        for key in keys:
            if not isinstance(value, Mapping) or key not in value:
                raise Missing(f"metrics/{name}.json has no {' > '.join(keys)}")
            value = value[key]
        return value

    def get(self, name: str, *keys: str, default: Any = None) -> Any:  # noqa: ANN401
        """Returns one fact, or `default` where a receipt, of an earlier revision for one, lacks the key."""
        try:
            return self.of(name, *keys)
        except Missing:
            return default

    def number(self, name: str, *keys: str) -> float:
        """Returns one fact as a number.

        Raises:
            Missing: it is absent or not a number.
        """
        value = self.of(name, *keys)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Missing(f"metrics/{name}.json: {' > '.join(keys)} is {value!r}, not a number")
        return float(value)

    def _parsed(self, name: str) -> Any:  # noqa: ANN401
        text = self.read(f"metrics/{name}.json")
        if text is None:
            raise Missing(f"metrics/{name}.json is missing")
        try:
            return json.loads(text)
        except ValueError as error:
            raise Missing(f"metrics/{name}.json is not JSON ({error})") from None
