"""General text that training may see: half of it is trained on, the other half says what tuning costs.

The probe (data/general, stage `probe`) is scored in every report, so nothing may be trained on or chosen by it; this is
what is there instead. A line is {"query", "passage"}. Lines that share a query or a passage hang together; a hash of
the first of their texts decides on the half of them all: no half knows a text of the other.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attune.data.splitting.clusters import components
from attune.errors import BadInput


class Pair(NamedTuple):
    """A query and the passage that answers it."""

    query: str
    passage: str


class Practice(NamedTuple):
    """The pairs to train on, and those held out to measure retention by."""

    fit: list[Pair]
    held_out: list[Pair]


def read_practice(path: Path) -> Practice:
    """Reads the pairs and parts them.

    Raises:
        BadInput: the file is missing, a line is not such a pair, or a half is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; restore it, or name your own general text") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    pairs = [_pair(line, f"{path}:{n}") for n, line in enumerate(lines, start=1) if line.strip()]
    held_out = _held_out(pairs)
    halves = Practice(
        [pair for pair, out in zip(pairs, held_out, strict=True) if not out],
        [pair for pair, out in zip(pairs, held_out, strict=True) if out],
    )
    for name, half in zip(Practice._fields, halves, strict=True):
        if not half:
            raise BadInput(f"{path}: {len(pairs)} pairs leave none for {name}; add some")
    return halves


def _pair(line: str, where: str) -> Pair:
    try:
        found = json.loads(line)
        pair = Pair(found["query"].strip(), found["passage"].strip())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadInput(f'{where}: got {line[:80]!r}, expected {{"query": "...", "passage": "..."}}; mend it') from None
    if not all(pair):
        raise BadInput(f"{where}: query or passage is empty; fill it in or remove the line")
    return pair


def _held_out(pairs: Sequence[Pair]) -> list[bool]:
    """Which pairs are held out."""
    texts = sorted({text for pair in pairs for text in pair})
    place = {text: n for n, text in enumerate(texts)}
    ties = np.array([[place[pair.query], place[pair.passage]] for pair in pairs], dtype=np.int64).reshape(-1, 2)
    first = components(len(texts), ties)
    return [hashlib.sha256(texts[first[place[pair.query]]].encode()).digest()[0] % 2 == 1 for pair in pairs]
