"""Figures and parameters that differ between a revision and here, read from the files in git, without DVC's index.

The values are those of `dvc metrics diff` and `dvc params diff`, which load every stage twice to find the files.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from attune.cli.review.gate import reader
from attune.errors import one_line
from attune.evaluation.checks.facts import Read, Snapshot
from attune.stage import ADVANCED_FILE, PARAMS_FILE

METRICS, REPORT = "metrics", "metrics/report.json"
PARAMETER_FILES = (str(PARAMS_FILE), str(ADVANCED_FILE), "libraries.yaml")
# section attune of a user's libraries.yaml: versions, which stand above it, too, and hashes of gate.retired
REPEATED = re.compile(r"attune\.(\w+\.(?!code$).+|retired)")
DIGITS = 3  # with which tables show a score; a smaller change is none

# Keys of figures that are better the higher they are, and those that are better the lower; others have no direction.
HIGHER = re.compile(
    r"(.*[._])?(recall@\d+|mrr@\d+|ndcg@\d+|map@\d+|spearman|knn_accuracy|logistic_accuracy|v_measure"
    r"|retention|near_domain_kept|mean_batch_fill|index_recall|(neighbour|stale)_overlap@\d+|cka|same_cosine"
    r"|(fp32|int8)_(min|mean|corpus_min|corpus_mean)_cosine)"
)
LOWER = re.compile(
    r"(.*(?<!detectable)[._])?"
    r"(cost|dev_leaks\..*|test_leaks\..*|.*_cut_share|n_unfilled_batches|n_restarts|.*_bytes)"
)
UNDIRECTED = re.compile(r"(sd|ci_low|ci_high|delta|language|reciprocal_ranks|weighted_scores|next|start)_.*")


@dataclass(frozen=True)
class Change:
    """A figure or parameter on both sides; None where a side lacks it."""

    file: str
    key: str
    old: Any
    new: Any

    @property
    def difference(self) -> float | None:
        """Returns new less old; None unless both are numbers."""
        sides = (self.old, self.new)
        if any(isinstance(side, bool) or not isinstance(side, int | float) for side in sides):
            return None
        return self.new - self.old  # type: ignore[no-any-return]


def direction(key: str) -> int:
    """Returns 1 for a figure that is better the higher it is, -1 for one that is better the lower, 0 for others."""
    if UNDIRECTED.fullmatch(key):
        return 0
    return 1 if HIGHER.fullmatch(key) else -1 if LOWER.fullmatch(key) else 0


def is_beyond_rounding(change: Change) -> bool:
    """Tells whether both sides have the figure, and differ in the digits of a table."""
    return change.difference is not None and round(change.new, DIGITS) != round(change.old, DIGITS)


def changed_figures(there: Snapshot, here: Path) -> tuple[list[Change], list[str]]:
    """Returns the figures of stages that differ, and a line for each file that one side lacks or that is no JSON.

    Args:
        there: the project at a revision.
        here: the project's folder.
    """
    paths = [file.relative_to(here).as_posix() for file in sorted((here / METRICS).rglob("*.json"))]
    both = sorted({*paths, *there.paths(METRICS, ".json")} - {REPORT})  # the report repeats the stages' figures
    return _changes(both, there.read, reader(here), json.loads, there.name)


def changed_parameters(there: Snapshot, here: Path) -> tuple[list[Change], list[str]]:
    """Returns the parameters that differ, by the file that holds them here, and a line for each unreadable file.

    A key that moved from one file to another with its value is no change, and the version of a library is one.
    """
    found, unread = _changes(PARAMETER_FILES, there.read, reader(here), YAML(typ="safe").load, there.name)
    changes = [each for each in found if not REPEATED.fullmatch(each.key)]
    removed = {each.key: each for each in changes if each.new is None}
    added = {each.key for each in changes if each.old is None}
    moved = removed.keys() & added
    joined = [
        Change(each.file, each.key, removed[each.key].old, each.new) if each.key in moved else each
        for each in changes
        if each.key not in moved or each.new is not None
    ]
    return [each for each in joined if each.old != each.new], unread


def flat(content: Any, above: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    """Yields every value with its key, nested keys joined by dots, as DVC names them; a list is one value."""
    if not isinstance(content, Mapping):
        yield above, content
        return
    for key, value in content.items():
        yield from flat(value, f"{above}.{key}" if above else str(key))


def natural(key: str) -> list[tuple[bool, int, str]]:
    """Sort key that orders numbers within names by size."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", key)]


def _changes(
    paths: Sequence[str], old: Read, new: Read, parse: Callable[[str], Any], name: str
) -> tuple[list[Change], list[str]]:
    """Compares files key by key, sorted by path and key with 5 before 10."""
    found: list[Change] = []
    unread: list[str] = []
    for path in paths:
        sides: list[dict[str, Any]] = []
        texts = old(path), new(path)
        if texts == (None, None):
            continue
        for text, place in zip(texts, (f"at {name}", "here"), strict=True):
            try:
                sides.append(dict(flat(parse(text) or {})) if text is not None else {})
            except (ValueError, YAMLError) as error:
                unread.append(f"{path} cannot be read {place} ({one_line(error)})")
            else:
                unread += [f"{path} is missing {place}"] if text is None else []
        if len(sides) == len(texts):
            before, now = ({key: value for key, value in side.items() if key} for side in sides)
            keys = sorted(before.keys() | now.keys(), key=natural)
            pairs = ((key, before.get(key), now.get(key)) for key in keys)
            found += [Change(path, key, was, is_now) for key, was, is_now in pairs if was != is_now]
    return found, unread
