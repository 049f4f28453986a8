"""Token ids of texts as bags, and the vector of each token by its encoder alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from attune.runtime import Embedder
from attune.runtime.arrays import Float32, Float64, Int64

BATCH = 512  # token rows per run of the graph
RARE = 1e-3  # frequency of a token at which its first weight is one half (Arora et al., 2017, ICLR)


@dataclass(frozen=True)
class Bags:
    """Rows of the tokens of some texts, one text after the other.

    Attributes:
        rows: (n,) of the vocabulary.
        offsets: (n_texts + 1,) of each text's first row.
    """

    rows: Int64
    offsets: Int64

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.offsets) - 1

    def take(self, texts: Int64) -> "Bags":
        """Returns the bags of some texts, in their order."""
        parts = [self.rows[self.offsets[text] : self.offsets[text + 1]] for text in texts]
        return bags_of(parts)


def bags_of(parts: Sequence[Int64]) -> Bags:
    """Returns rows of texts as bags."""
    lengths = np.array([len(part) for part in parts], dtype=np.int64)
    return Bags(np.concatenate([np.empty(0, np.int64), *parts]), np.concatenate([[0], np.cumsum(lengths)]))


class Vocabulary:
    """The tokens that get a vector, and the texts' tokens as rows of it.

    Special tokens get none: a query's tokens are summed without them.

    Args:
        tokenizer: file of the encoder's tokenizer.
        n_tokens: most tokens that get a vector: those of `texts`, the frequent ones first, then the others by id.
        texts: by which tokens are counted.
    """

    def __init__(self, tokenizer: Path, n_tokens: int, texts: Sequence[str]) -> None:
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        added = self._tokenizer.get_added_tokens_decoder()
        self.size = max(ids) + 1
        is_special = np.isin(np.arange(self.size), [id_ for id_, token in added.items() if token.special])
        is_token = np.isin(np.arange(self.size), list(ids)) & ~is_special
        counts = np.bincount(np.concatenate([np.empty(0, np.int64), *self._ids(texts)]), minlength=self.size)
        order = np.lexsort((np.arange(self.size), -counts))
        self.token_ids: Int64 = np.sort(order[is_token[order]][:n_tokens])
        self._row = np.full(self.size, -1)
        self._row[self.token_ids] = np.arange(len(self.token_ids))
        share = counts[self.token_ids] / max(1, counts[self.token_ids].sum())
        self.first_weights: Float64 = RARE / (RARE + share)

    def bags(self, texts: Sequence[str]) -> Bags:
        """Returns the rows of the texts' tokens; tokens without a vector are left out."""
        rows = (self._row[ids] for ids in self._ids(texts))
        return bags_of([own[own >= 0] for own in rows])

    def by_id(self, vectors: Float32) -> Float32:
        """Returns vectors by token id, (size, dim), of those by row; zeros for tokens without a vector."""
        table = np.zeros((self.size, vectors.shape[1]), dtype=np.float32)
        table[self.token_ids] = vectors
        return table

    def _ids(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]


def token_vectors(embedder: Embedder, token_ids: Int64) -> Float32:
    """Embeds each token as the only one of a query, between the special tokens and behind the query prompt.

    Args:
        embedder: of the encoder.
        token_ids: (n,).

    Returns:
        (n, dim), rows of length 1.
    """
    one, other = embedder.token_ids(["a", "b"], "query")
    n_first = next(place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
    first, last = one[:n_first], one[n_first + 1 :]
    return embedder.encode_tokens([np.concatenate([first, [id_], last]) for id_ in token_ids], BATCH)
