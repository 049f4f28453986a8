"""Embeddings cut to their first numbers, as encoders trained for it allow.

Kusupati et al., "Matryoshka representation learning", NeurIPS 2022, arXiv 2205.13147.
"""

import numpy as np
from numpy.typing import NDArray

from attune.errors import BadInput


def truncated(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """The first `dim` numbers of each row, of length 1 again; a row of zeros stays one.

    Args:
        vectors: (n, full dim) embeddings.
        dim: how many numbers are kept, 1 to the full dim.

    Returns:
        (n, dim) embeddings.

    Raises:
        BadInput: the embeddings have fewer numbers.
    """
    if dim > vectors.shape[1]:
        raise BadInput(
            f"evaluate.truncate_dims: got {dim}, but the embeddings have {vectors.shape[1]} dimensions; "
            f"take it off, or set at most {vectors.shape[1]}"
        )
    cut = np.asarray(vectors[:, :dim], dtype=np.float32)
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return (cut / np.where(lengths > 0, lengths, 1)).astype(np.float32)
