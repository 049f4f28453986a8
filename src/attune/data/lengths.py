"""Lengths of texts in tokens, and the maximum length that they and the time allow (`base.max_length: auto`).

A longer maximum costs time with every text that it no longer cuts. Time is counted in tokens that training reads at
the default `train.epochs`, because it grows with them on any machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from attune.errors import BadInput
from attune.runtime.arrays import Int64

CANDIDATES = (32, 64, 96, 128, 192, 256, 384, 512)
WHOLE_SHARE = 0.95  # of the documents, and of the queries, that a length must hold to cut next to nothing
AFFORDABLE = 96  # tokens, at whatever price
DOCUMENTS_PER_ROW = 2  # the relevant one and a hard negative; fixed, so that mine.n_negatives changes no encoder
# rows of a run at the default train.epochs: four passes over the pairs, at most 2,000 steps of 32 rows; of few pairs,
# whose 60 steps at least are more passes, any length is affordable
PASSES, MOST_ROWS = 4, 64_000
MAX_SAMPLED = 5_000  # documents, and queries, whose tokens are counted
MAX_CUT_SHARE = 0.1  # of documents or of queries, above which a line says so; that of ATT035


@dataclass(frozen=True)
class Lengths:
    """Tokens of each sampled text, prompt and special tokens included.

    Attributes:
        documents: one number per document.
        queries: one number per query.
        n_pairs: pairs of a query and a relevant document, each a row of training.
    """

    documents: Int64
    queries: Int64
    n_pairs: int

    def run_tokens(self, length: int) -> int:
        """Returns the number of tokens that a run of training reads if texts are cut at a length."""
        query, document = (float(np.minimum(tokens, length).mean()) for tokens in (self.queries, self.documents))
        return round(min(PASSES * self.n_pairs, MOST_ROWS) * (query + DOCUMENTS_PER_ROW * document))

    def cut_shares(self, length: int) -> tuple[float, float]:
        """Returns the shares of documents and of queries that are longer."""
        return float((self.documents > length).mean()), float((self.queries > length).mean())


def whole_length(lengths: Lengths, n_positions: int) -> int:
    """Returns the smallest candidate that cuts next to no text, or the largest if all cut more.

    Args:
        lengths: of the data.
        n_positions: of the encoder; no candidate is longer.
    """
    possible = [length for length in CANDIDATES if length <= n_positions] or [n_positions]
    enough = (length for length in possible if max(lengths.cut_shares(length)) <= 1 - WHOLE_SHARE)
    return next(enough, possible[-1])


def auto_length(lengths: Lengths, n_positions: int, run_tokens: int) -> int:
    """Returns the length that cuts next to no text, or the largest affordable one if that is smaller.

    Args:
        lengths: of the data.
        n_positions: of the encoder.
        run_tokens: most tokens for a run of training; 96 tokens per text are affordable whatever they cost.
    """
    whole = whole_length(lengths, n_positions)
    affordable = [length for length in CANDIDATES if lengths.run_tokens(length) <= run_tokens]
    return min(whole, max([AFFORDABLE, *affordable]))


def figures(lengths: Lengths, length: int) -> dict[str, float]:
    """Returns median and 95th percentile of the tokens of documents and queries, and the shares that a length cuts."""
    facts: dict[str, float] = {}
    kinds = (("documents", lengths.documents), ("queries", lengths.queries))
    for (name, tokens), share in zip(kinds, lengths.cut_shares(length), strict=True):
        p50, p95 = np.percentile(tokens, [50, 95])
        facts |= {f"{name}_tokens_p50": float(p50), f"{name}_tokens_p95": float(p95), f"{name}_cut_share": share}
    return facts


def price(lengths: Lengths, length: int, n_positions: int) -> dict[str, int | float]:
    """Returns the tokens of a run at a length and at the one that cuts next to no text, their ratio, and what is left.

    The largest candidate may leave long texts; the shares that it cuts are given, too.
    """
    whole = whole_length(lengths, n_positions)
    now, then = lengths.run_tokens(length), lengths.run_tokens(whole)
    documents, queries = lengths.cut_shares(whole)
    return {
        "n_run_tokens": now,
        "whole_length": whole,
        "n_whole_run_tokens": then,
        "whole_run_ratio": then / now,
        "documents_cut_at_whole_length_share": documents,
        "queries_cut_at_whole_length_share": queries,
    }


def cut_texts(length: int, of_data: Mapping[str, Any]) -> str:
    """Returns a line on texts that are cut, with the way out and its price; "" where nothing is measured or few are."""
    names = ("documents", "queries")
    cut = {name: float(of_data.get(f"{name}_cut_share", 0)) for name in names}
    if max(cut.values()) <= MAX_CUT_SHARE:
        return ""
    told = " and ".join(f"{cut[name]:.0%} of the {name}" for name in names)
    said = f"{told} of train are longer than the {length} tokens that are read"
    whole, ratio = of_data["whole_length"], of_data["whole_run_ratio"]
    if whole == length:
        return f"{said}; set prepare.passages.tokens to read them in passages"
    left = " and ".join(f"{of_data[f'{name}_cut_at_whole_length_share']:.0%}" for name in names)
    return f"{said}; set base.max_length: {whole}, which cuts {left}, for about {ratio:.1f} times the training time"


def sampled(texts: Sequence[str]) -> list[str]:
    """Returns the texts, or as many as are counted, evenly spaced, if there are more."""
    n = min(len(texts), MAX_SAMPLED)
    return [texts[place * len(texts) // n] for place in range(n)]


def lengths_of(
    folder: Path, prompts: Mapping[str, str], documents: Sequence[str], queries: Sequence[str], n_pairs: int
) -> Lengths:
    """Counts the tokens of texts with a saved encoder's tokenizer.

    Args:
        folder: of the encoder.
        prompts: put before the texts, by the names "document" and "query".
        documents: sampled ones.
        queries: sampled ones.
        n_pairs: pairs of a query and a relevant document.

    Raises:
        BadInput: the tokenizer cannot be read.
    """
    tokenizer = _tokenizer(folder / "tokenizer.json")

    def count(texts: Sequence[str]) -> Int64:
        return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch_fast(list(texts))], dtype=np.int64)

    return counted(count, prompts, documents, queries, n_pairs)


def counted(
    count: Callable[[Sequence[str]], Int64],
    prompts: Mapping[str, str],
    documents: Sequence[str],
    queries: Sequence[str],
    n_pairs: int,
) -> Lengths:
    """Counts as `lengths_of` does, by a function from texts to their numbers of tokens."""
    of_documents, of_queries = (
        count([prompts.get(kind, "") + text for text in texts])
        for kind, texts in (("document", documents), ("query", queries))
    )
    return Lengths(of_documents, of_queries, n_pairs)


def _tokenizer(file: Path) -> Tokenizer:
    if not file.is_file():
        raise BadInput(
            f"{file}: not found; save the encoder with its fast tokenizer, or choose another in section base"
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise BadInput(f"{file}: not a tokenizer ({error}); fetch or save the encoder again") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
