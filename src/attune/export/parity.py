"""Parity of an exported graph with torch: the test texts, a grid of batches, the figures, and the golden vectors."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from tqdm import tqdm

from attune.export.folder import FP16, FP32, INT8
from attune.runtime import Embedder
from attune.runtime.arrays import Float32, Int64

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
BEYOND = 8  # tokens of padding beyond the maximum length, where the encoder has positions for them
N_ROTATIONS = 7  # distinct texts of a kind in a batch; further rows repeat them
TEXT_KINDS = {
    "words": " ".join(SENTENCES),
    "unicode": " ".join(text for text in ODDITIES if any(ord(character) > 0xFF for character in text)),
    "empty": "",
    "whitespace": " \t\n\r ",
}
GOLDEN_STEP = 4  # every fourth parity text is golden
FP32_MIN_COSINE = 0.9999  # to torch on a service's machine
FP16_MIN_COSINE = 0.999  # likewise; .999998 or more on the exporting machine, but a GPU sums in another order
INT8_MARGIN = 0.01  # by which int8's cosine on a service's machine may be lower than on the exporting one

TorchEmbed = Callable[[str, int], Float32]  # text and maximum number of tokens to its embedding, (dim,)


def parity_texts(tokenizer: Tokenizer, max_length: int) -> list[str]:
    """Returns texts of critical lengths, real sentences and unusual characters.

    The lengths are one word, 8 tokens, the maximum less 1, the maximum, and more; all but the first include special
    tokens. All 31 texts fit into one batch of 32, which so mixes all lengths.
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
    """Distance of the graphs to torch over all texts and batch sizes, for fp32 also over the batches of the grid.

    Attributes:
        n_grid_batches: distinct batches of the grid.
        fp32_min_cosine: smallest cosine of a text's fp32 and torch embeddings.
        fp32_max_abs_diff: largest absolute difference of a component.
        int8_mean_cosine: mean cosine of a text's int8 and torch embeddings.
        int8_min_cosine: smallest one.
        int8_batch_max_abs_diff: largest change of an int8 embedding by the other texts of its batch.
    """

    n_grid_batches: int
    fp32_min_cosine: float
    fp32_max_abs_diff: float
    int8_mean_cosine: float
    int8_min_cosine: float
    int8_batch_max_abs_diff: float

    def with_grid(self, n_batches: int, min_cosine: float, max_abs_diff: float) -> "Parity":
        """Returns the figures with each of fp32's replaced by the worse of texts and grid; NaN counts as worst."""
        return replace(
            self,
            n_grid_batches=n_batches,
            fp32_min_cosine=float(np.min([self.fp32_min_cosine, min_cosine])),
            fp32_max_abs_diff=float(np.max([self.fp32_max_abs_diff, max_abs_diff])),
        )


def by_batch_size(embedder: Embedder, texts: Sequence[str], name: str) -> Float32:
    """Embeds the texts in batches of each size: (n sizes, n texts, dim)."""
    sizes = tqdm(BATCH_SIZES, desc=f"parity of {name}", unit="batch size", disable=None)
    return np.stack([embedder.encode(texts, batch_size=size) for size in sizes])


def int8_parity(fp32: Float32, int8: Float32, expected: Float32) -> Parity:
    """Compares both graphs with torch.

    Args:
        fp32, int8: embeddings, (n sizes, n texts, dim), from `by_batch_size`.
        expected: torch's embeddings of each text alone, (n texts, dim).
    """
    fp32_cosines, int8_cosines = (fp32 * expected).sum(axis=2), (int8 * expected).sum(axis=2)
    return Parity(
        n_grid_batches=0,
        fp32_min_cosine=float(fp32_cosines.min()),
        fp32_max_abs_diff=float(np.abs(fp32 - expected).max()),
        int8_mean_cosine=float(int8_cosines.mean()),
        int8_min_cosine=float(int8_cosines.min()),
        int8_batch_max_abs_diff=float(np.abs(int8 - int8[0]).max()),
    )


def compare_fp16(fp16: Float32, expected: Float32) -> dict[str, float]:
    """Compares the fp16 graph with torch; shapes and figures are as in `int8_parity`."""
    cosines = (fp16 * expected).sum(axis=2)
    return {
        "fp16_mean_cosine": float(cosines.mean()),
        "fp16_min_cosine": float(cosines.min()),
        "fp16_max_abs_diff": float(np.abs(fp16 - expected).max()),
    }


@dataclass(frozen=True)
class PaddedBatch:
    """A batch of the grid.

    Attributes:
        texts: one per row.
        n_tokens: length that each text is cut to.
        width: padded length of the rows; 0 is that of the longest row.
    """

    texts: tuple[str, ...]
    n_tokens: int
    width: int

    def features(self, tokenizer: Tokenizer) -> dict[str, Int64]:
        """Returns the inputs of the graph, (batch, tokens) each, from tokenizer.json's tokens."""
        tokenizer.enable_truncation(self.n_tokens)
        encodings = tokenizer.encode_batch(list(self.texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        padding = ((0, 0), (0, max(0, self.width - ids.shape[1])))
        padded = np.pad(ids, padding, constant_values=(tokenizer.padding or {})["pad_id"])
        return {
            "input_ids": padded,
            "attention_mask": np.pad(mask, padding),
            "token_type_ids": np.zeros_like(padded),
        }


def token_lengths(n_added: int, max_length: int) -> list[int]:
    """Returns the lengths of the grid: 1 token and the `n_added` special ones, 8, the maximum less 1, the maximum."""
    return sorted({min(length, max_length) for length in (n_added + 1, 8, max_length - 1, max_length)})


def grid(tokenizer: Tokenizer, max_length: int, n_positions: int) -> Iterator[PaddedBatch]:
    """Yields the batches: size x length x padding x kind of text. All texts exceed the maximum length and are cut.

    Args:
        tokenizer: of the exported folder.
        max_length: tokens, special ones included.
        n_positions: largest padded length in tokens.
    """
    lengths = token_lengths(tokenizer.num_special_tokens_to_add(is_pair=False), max_length)
    wide = max(max_length, min(max_length + BEYOND, n_positions))
    for rows, length, width, kind in product(BATCH_SIZES, lengths, (0, wide), TEXT_KINDS):
        if kind != "empty" or length == lengths[0]:  # empty texts are the same at any length
            yield PaddedBatch(tuple(_text(kind, row % N_ROTATIONS, max_length) for row in range(rows)), length, width)


def _text(kind: str, rotation: int, max_length: int) -> str:
    words = TEXT_KINDS[kind].split(" ")
    # twice the length, because vocabularies lack or drop characters of some scripts
    return (
        " ".join((words[rotation:] + words[:rotation]) * (1 + 2 * max_length // len(words))) if TEXT_KINDS[kind] else ""
    )


@dataclass(frozen=True)
class GridFigures:
    """Distance of a graph to torch in the worst batch of the grid.

    Attributes:
        n_batches: distinct batches.
        min_cosine: smallest cosine of a row to torch.
        max_abs_diff: largest absolute difference of a component.
    """

    n_batches: int
    min_cosine: float
    max_abs_diff: float


def run_grid(
    folder: Path, graph: str, max_length: int, n_positions: int, torch_embed: TorchEmbed, threads: int
) -> GridFigures:
    """Runs a graph on every batch of the grid and compares each row with torch's embedding of its text alone.

    NaN in any embedding makes the figures NaN.

    Args:
        folder: of the exported encoder.
        graph: path in the folder.
        max_length: tokens, special ones included.
        n_positions: largest padded length in tokens.
        torch_embed: embeds one text, cut to a number of tokens.
        threads: CPU threads.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(folder / graph), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    batches, expect = list(grid(tokenizer, max_length, n_positions)), cache(torch_embed)
    seen: set[tuple[int, bytes, bytes]] = set()
    cosines, diffs = [], []
    for batch in tqdm(batches, desc="parity grid", unit="batch", disable=None):
        features = batch.features(tokenizer)
        ids, mask = features["input_ids"], features["attention_mask"]
        if (key := (len(ids), ids.tobytes(), mask.tobytes())) in seen:
            continue  # texts may differ only in parts that the tokenizer drops or cuts
        seen.add(key)
        got = session.run(["sentence_embedding"], {name: features[name] for name in names})[0]
        expected = np.stack([expect(text, batch.n_tokens) for text in batch.texts])
        cosines.append((got * expected).sum(axis=1).min())
        diffs.append(np.abs(got - expected).max())
    return GridFigures(len(seen), float(np.min(cosines)), float(np.max(diffs)))


def golden(texts: list[str], expected: Float32, vectors: Mapping[str, Float32]) -> dict[str, Any]:
    """Returns the content of golden.json, a part of the parity texts with torch's vectors and each graph's limit.

    Args:
        texts: n parity texts.
        expected: torch's embeddings, (n, dim).
        vectors: embeddings by graph, (n, dim) each.
    """
    part = slice(None, None, GOLDEN_STEP)
    limits = {graph: limit for graph, limit in ((FP32, FP32_MIN_COSINE), (FP16, FP16_MIN_COSINE)) if graph in vectors}
    if INT8 in vectors:
        limits[INT8] = round(float((vectors[INT8][part] * expected[part]).sum(axis=1).min()) - INT8_MARGIN, 3)
    return {"texts": texts[part], "vectors": expected[part].tolist(), "min_cosine": limits}
