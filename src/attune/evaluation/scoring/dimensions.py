"""Matryoshka truncation: embeddings cut to their first dimensions.

Kusupati et al., "Matryoshka representation learning", NeurIPS 2022, arXiv 2205.13147.
"""

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Float32


def truncated(vectors: Float32, dim: int) -> Float32:
    """Returns the first `dim` numbers of each row, normalised to length 1 again; a zero row stays zero.

    Args:
        vectors: (n, full dim) embeddings.
        dim: dimensions kept, 1 to the full dim.

    Returns:
        (n, dim) embeddings.

    Raises:
        BadInput: the embeddings have fewer dimensions.
    """
    if dim > vectors.shape[1]:
        raise BadInput(
            f"evaluate.truncate_dims: got {dim}, but the embeddings have {vectors.shape[1]} dimensions; "
            f"take it off, or set at most {vectors.shape[1]}"
        )
    cut = np.asarray(vectors[:, :dim], dtype=np.float32)
    lengths = np.linalg.norm(cut, axis=1, keepdims=True)
    return (cut / np.where(lengths > 0, lengths, 1)).astype(np.float32)
