"""A grid of batches made to break an export: sizes, lengths, padding and kinds of text, each with each.

`parity` runs sorted batches of mixed texts, as services do. A graph may be right there and wrong where all rows have
one token, where nothing is padded, or where a client pads further than the longest row: each is a cell of its own here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from attune.export.parity import BATCH_SIZES, ODDITIES, SENTENCES

BEYOND = 8  # tokens by which padding exceeds the maximum length, where the encoder has positions for them
N_ROTATIONS = 7  # different texts of a kind in a batch; more rows repeat them
KINDS = {
    "words": " ".join(SENTENCES),
    "unicode": " ".join(text for text in ODDITIES if any(ord(character) > 0xFF for character in text)),
    "empty": "",
    "whitespace": " \t\n\r ",
}

Vector = NDArray[np.float32]
Integers = NDArray[np.int64]
Truth = Callable[[str, int], Vector]  # a text, and to how many tokens it is cut -> (dim,)


@dataclass(frozen=True)
class Cell:
    """A batch: texts, each cut to `n_tokens`, in a matrix of `width` tokens; 0: as wide as its longest row."""

    texts: tuple[str, ...]
    n_tokens: int
    width: int

    def features(self, tokenizer: Tokenizer) -> dict[str, Integers]:
        """Token ids and mask, (batch, tokens) each, as tokenizer.json gives them."""
        tokenizer.enable_truncation(self.n_tokens)
        encodings = tokenizer.encode_batch(list(self.texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        room = ((0, 0), (0, max(0, self.width - ids.shape[1])))
        padded = np.pad(ids, room, constant_values=(tokenizer.padding or {})["pad_id"])
        return {
            "input_ids": padded,
            "attention_mask": np.pad(mask, room),
            "token_type_ids": np.zeros_like(padded),
        }


def lengths(n_added: int, max_length: int) -> list[int]:
    """1 token besides the `n_added` special ones, 8, one short of the maximum, the maximum."""
    return sorted({min(length, max_length) for length in (n_added + 1, 8, max_length - 1, max_length)})


def cells(tokenizer: Tokenizer, max_length: int, n_positions: int) -> Iterator[Cell]:
    """All batches: size x length x padding x kind of text. The texts are longer than the maximum, and are cut.

    Args:
        tokenizer: the one that ships.
        max_length: tokens, special ones included.
        n_positions: the most tokens that a row may be padded to.
    """
    sizes = lengths(tokenizer.num_special_tokens_to_add(is_pair=False), max_length)
    wide = max(max_length, min(max_length + BEYOND, n_positions))
    for rows, length, width, kind in product(BATCH_SIZES, sizes, (0, wide), KINDS):
        if kind != "empty" or length == sizes[0]:  # nothing, cut to whatever length, is the same batch
            yield Cell(tuple(_text(kind, row % N_ROTATIONS, max_length) for row in range(rows)), length, width)


def _text(kind: str, rotation: int, max_length: int) -> str:
    words = KINDS[kind].split(" ")
    # words of some scripts are characters that a vocabulary lacks or drops, hence twice the length
    return " ".join((words[rotation:] + words[:rotation]) * (1 + 2 * max_length // len(words))) if KINDS[kind] else ""


@dataclass(frozen=True)
class GridFigures:
    """How far a graph is from torch in the worst of so many different batches."""

    n_batches: int
    min_cosine: float
    max_abs_diff: float


def run_grid(folder: Path, graph: str, max_length: int, n_positions: int, truth: Truth, threads: int) -> GridFigures:
    """Runs a graph of an exported folder on every cell, and compares each row with torch's vector of its text alone.

    NaN anywhere makes the figures NaN.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(folder / graph), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    every, known = list(cells(tokenizer, max_length, n_positions)), cache(truth)
    seen: set[tuple[int, bytes, bytes]] = set()
    cosines, diffs = [], []
    for cell in tqdm(every, desc="parity grid", unit="batch", disable=None):
        features = cell.features(tokenizer)
        ids, mask = features["input_ids"], features["attention_mask"]
        if (batch := (len(ids), ids.tobytes(), mask.tobytes())) in seen:
            continue  # what a tokenizer drops, or cuts away, may leave two cells the same
        seen.add(batch)
        got = session.run(["sentence_embedding"], {name: features[name] for name in names})[0]
        expected = np.stack([known(text, cell.n_tokens) for text in cell.texts])
        cosines.append((got * expected).sum(axis=1).min())
        diffs.append(np.abs(got - expected).max())
    return GridFigures(len(seen), float(np.min(cosines)), float(np.max(diffs)))
