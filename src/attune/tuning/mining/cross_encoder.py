"""Scores by a cross-encoder, which reads query and document together: slower than cosines, and better at answers.

The model's single logit goes through a sigmoid, whatever activation its folder names: scores are in 0..1, where a share
of a positive's score is meaningful (Nogueira & Cho 2019, arXiv 1901.04085, read it as the probability that the
document answers the query).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attune.errors import BadInput
from attune.runtime.arrays import Float32
from attune.tuning.mining.candidates import Pairs, Scorer

BATCH = 32  # pairs per forward pass; CrossEncoder.predict sorts them by length


def load_reranker(folder: Path, queries: Sequence[str], documents: Sequence[str], threads: int) -> Scorer:
    """Loads a cross-encoder that scores pairs of these queries and documents.

    Args:
        folder: as sentence-transformers' CrossEncoder saves it, or any transformers model with one output.
        queries: texts of the train queries.
        documents: texts of the corpus.
        threads: CPU threads.

    Raises:
        BadInput: the folder holds no cross-encoder, or one with several outputs.
    """
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise BadInput(
            f"{folder}: no cross-encoder (a config.json and its weights); name another, or none (mine.reranker: '')"
        )
    # imported here: they take seconds to import, and mining by cosines does not need them
    import torch  # noqa: PLC0415
    from sentence_transformers import CrossEncoder  # noqa: PLC0415

    from attune.encoding.torch_threads import set_torch_threads  # noqa: PLC0415

    set_torch_threads(threads)
    try:
        model = CrossEncoder(str(folder), local_files_only=True, model_kwargs={"dtype": torch.float32})
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{folder}: not a cross-encoder that can be loaded ({error}); save it again") from None
    if model.num_labels != 1:
        raise BadInput(f"{folder}: a cross-encoder with {model.num_labels} outputs, expected one score; take another")

    def score(pairs: Pairs) -> Float32:
        texts = [
            (queries[query], documents[row])
            for query, row in zip(pairs.queries.tolist(), pairs.rows.tolist(), strict=True)
        ]
        scores = model.predict(
            texts, batch_size=BATCH, activation_fn=torch.nn.Sigmoid(), show_progress_bar=sys.stderr.isatty()
        )
        return np.round(np.asarray(scores, dtype=np.float64), 6).astype(np.float32)

    return score
