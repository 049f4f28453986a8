"""Does a graph compute what torch computes? The texts that would show it if not, and the figures."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

from attune.export.folder import FP16, FP32, INT8
from attune.runtime import Embedder

BATCH_SIZES = (1, 2, 7, 32)
SENTENCES = (
    "Stack arrays in sequence vertically (row wise).",
    "the shortest path between two nodes of a weighted graph",
    "Return the sorted, unique elements of an array, and how often each of them occurs in it.",
    "def roll(a, shift, axis=None):\n    return concatenate((a[-shift:], a[:-shift]), axis)\n",
    "In winter the boat stays in the harbour; in summer we sail it to the island and back before dark.",
)
ODDITIES = (
    *("", " ", "\t\n\r ", "a", "!", "\x00\x07", "x" * 300, "0 1 2 3 4 5 6 7 8 9"),
    *("Größe, naïveté, façade", "e\u0301 is not é", "Привет, мир", "日本語のテキスト", "مرحبا بالعالم", "नमस्ते"),
    *(
        "👩‍👩‍👧‍👦 👍🏽 🇪🇺",
        "\u200b\ufeff\u00ad",
        "∑ᵢ xᵢ² ≤ ‖x‖₂²",
        "[MASK] [SEP] [PAD] <s> </s>",
        "'; DROP TABLE texts; --",
    ),
)


def parity_texts(tokenizer: Tokenizer, max_length: int) -> list[str]:
    """Texts of 1 and 8 tokens, one less than, exactly and more than the maximum length, real sentences, and oddities.

    Lengths count what the tokenizer adds, except that of 1 token; 31 texts, so a batch of 32 mixes all lengths.
    """
    n_added = tokenizer.num_special_tokens_to_add(is_pair=False)
    words = " ".join(SENTENCES).lower().split()
    single = [word for word in words if len(tokenizer.encode(word, add_special_tokens=False).ids) == 1] or ["a"]
    lengths = [1, 8 - n_added, max_length - n_added - 1, max_length - n_added, max_length + 8]
    sized = [" ".join(single[place % len(single)] for place in range(length)) for length in lengths]
    starts = [" ".join(words[:n]) for n in (16, 40)]
    return [*sized, *SENTENCES, *starts, *ODDITIES]


@dataclass(frozen=True)
class Parity:
    """How far the graphs are from torch, over all texts and all batch sizes, and of fp32 over the grid's batches."""

    n_grid_batches: int
    fp32_min_cosine: float
    fp32_max_abs_diff: float
    int8_mean_cosine: float
    int8_min_cosine: float
    int8_batch_max_abs_diff: float  # what the other texts of a batch do to a text's int8 embedding, at most

    def with_grid(self, n_batches: int, min_cosine: float, max_abs_diff: float) -> "Parity":
        """The same, with fp32 as far from torch as the worse of the texts and of a grid of batches; NaN is worst."""
        return replace(
            self,
            n_grid_batches=n_batches,
            fp32_min_cosine=float(np.min([self.fp32_min_cosine, min_cosine])),
            fp32_max_abs_diff=float(np.max([self.fp32_max_abs_diff, max_abs_diff])),
        )


def by_batch_size(embedder: Embedder, texts: Sequence[str], name: str) -> NDArray[np.float32]:
    """The texts' embeddings in batches of each size: (n sizes, n texts, dim)."""
    sizes = tqdm(BATCH_SIZES, desc=f"parity of {name}", unit="batch size", disable=None)
    return np.stack([embedder.encode(texts, batch_size=size) for size in sizes])


def compare(fp32: NDArray[np.float32], int8: NDArray[np.float32], truth: NDArray[np.float32]) -> Parity:
    """Compares both graphs' embeddings, (n sizes, n texts, dim), with torch's of each text alone, (n texts, dim)."""
    fp32_cosines, int8_cosines = (fp32 * truth).sum(axis=2), (int8 * truth).sum(axis=2)
    return Parity(
        n_grid_batches=0,
        fp32_min_cosine=float(fp32_cosines.min()),
        fp32_max_abs_diff=float(np.abs(fp32 - truth).max()),
        int8_mean_cosine=float(int8_cosines.mean()),
        int8_min_cosine=float(int8_cosines.min()),
        int8_batch_max_abs_diff=float(np.abs(int8 - int8[0]).max()),
    )


def compare_fp16(fp16: NDArray[np.float32], truth: NDArray[np.float32]) -> dict[str, float]:
    """The fp16 graph's embeddings, (n sizes, n texts, dim), beside torch's of each text alone, (n texts, dim)."""
    cosines = (fp16 * truth).sum(axis=2)
    return {
        "fp16_mean_cosine": float(cosines.mean()),
        "fp16_min_cosine": float(cosines.min()),
        "fp16_max_abs_diff": float(np.abs(fp16 - truth).max()),
    }


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


EVERY = 4  # of the parity texts, every fourth
FP32_ELSEWHERE = 0.9999  # cosine to torch that fp32 must reach on a service's machine
FP16_ELSEWHERE = 0.999  # and fp16: here it has .999998 and more; a GPU adds up in another order
INT8_SLACK = 0.01  # by how much int8 may fall short there of the cosine that it reaches here


def golden(texts: list[str], truth: NDArray[np.float32], vectors: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """The content of golden.json, from all parity texts.

    Args:
        texts: n parity texts.
        truth: torch's vector of each, (n, dim).
        vectors: by graph, its vectors of them, (n, dim).
    """
    few = slice(None, None, EVERY)
    limits = {
        FP32: FP32_ELSEWHERE,
        INT8: round(float((vectors[INT8][few] * truth[few]).sum(axis=1).min()) - INT8_SLACK, 3),
        FP16: FP16_ELSEWHERE,
    }
    limits = {graph: limit for graph, limit in limits.items() if graph in vectors}
    return {"texts": texts[few], "vectors": truth[few].tolist(), "min_cosine": limits}
