"""General-domain text that tuning may use: one half for training against forgetting, the other to measure retention.

It stands in for the probe (data/general, stage `probe`), which every report scores and which therefore must not be
trained on or used for selection. Each line of the file is {"query", "passage"}. Pairs that share a query or a passage
form one component and go to the same half, by a hash of the component's first text: no text is in both halves.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attune.data.splitting.clusters import components
from attune.errors import BadInput
from attune.json_text import parse_json


class Pair(NamedTuple):
    """A query and the passage that answers it."""

    query: str
    passage: str


class GeneralText(NamedTuple):
    """Pairs to train on, and pairs to measure retention with."""

    train: list[Pair]
    evaluation: list[Pair]


def read_general_text(path: Path) -> GeneralText:
    """Reads the pairs and splits them in two halves.

    Raises:
        BadInput: the file is missing or not UTF-8, a line is not a pair, or a half is empty.
    """
    try:
        # splitlines() would also cut at U+2028, U+2029 and U+0085, which JSON strings may hold
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        raise BadInput(f"{path}: not found; restore it, or name your own general text") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    pairs = [_parse(line, f"{path}:{n}") for n, line in enumerate(lines, start=1) if line.strip()]
    flags = _in_evaluation_half(pairs)
    halves = GeneralText(
        train=[pair for pair, in_evaluation in zip(pairs, flags, strict=True) if not in_evaluation],
        evaluation=[pair for pair, in_evaluation in zip(pairs, flags, strict=True) if in_evaluation],
    )
    for name, half in zip(GeneralText._fields, halves, strict=True):
        if not half:
            raise BadInput(f"{path}: {len(pairs)} pairs leave none for {name}; add more pairs")
    return halves


def _parse(line: str, where: str) -> Pair:
    try:
        record = parse_json(line)
        pair = Pair(record["query"].strip(), record["passage"].strip())
    except (ValueError, TypeError, KeyError, AttributeError):
        raise BadInput(
            f'{where}: got {line[:80]!r}, expected {{"query": "...", "passage": "..."}}; correct the line'
        ) from None
    if not all(pair):
        raise BadInput(f"{where}: query or passage is empty; fill it in or remove the line")
    return pair


def _in_evaluation_half(pairs: Sequence[Pair]) -> list[bool]:
    """Returns True for each pair of the evaluation half."""
    texts = sorted({text for pair in pairs for text in pair})
    index = {text: n for n, text in enumerate(texts)}
    edges = np.array([[index[pair.query], index[pair.passage]] for pair in pairs], dtype=np.int64).reshape(-1, 2)
    first = components(len(texts), edges)  # for each text, the first text of its component
    return [hashlib.sha256(texts[first[index[pair.query]]].encode()).digest()[0] % 2 == 1 for pair in pairs]
