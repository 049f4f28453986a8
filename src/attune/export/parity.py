"""Does a graph compute what torch computes? The texts that would show it if not, and the figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tqdm import tqdm

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
