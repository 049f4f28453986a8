"""The static query encoder: an embedding is the weighted sum of token vectors, brought to length 1; numpy alone.

It embeds queries for the documents of another encoder, whose fingerprint it carries: an index of that encoder's
documents stays as it is, and a service that only embeds queries loads neither graph nor onnxruntime. Its file is
laid out as model2vec's, so that model2vec and sentence-transformers (StaticEmbedding) load the folder, too.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from attune.errors import BadInput, one_line
from attune.runtime import rules
from attune.runtime.arrays import Float32
from attune.runtime.folders import confined, read_json
from attune.runtime.manifest import TOKENIZER, sha256_of
from attune.runtime.tensors import read_tensors

RECORD, VECTORS, GRAPH = "static.json", "model.safetensors", "static.onnx"
EMBEDDINGS, WEIGHTS = "embeddings", "weights"  # arrays of VECTORS, as model2vec names them
LEAST_LENGTH = 1e-12  # a text without a token that has a vector stays zeros
REMEDY = "fetch the folder again, or make it anew with `dvc repro`"
MISSING = "give the folder of a static encoder, such as models/static/tuned or models/onnx/static"
SHOWN = 200  # characters of a library's message
RULE = rules.record(
    {"encoder": rules.text, "dim": rules.whole(1, 2**20), "files": rules.table(rules.record({"sha256": rules.sha256}))}
)


class StaticEncoder:
    """Token vectors and weights: queries to L2-normalised embeddings; any number of threads may call one instance.

    Args:
        folder: written by stage static or release: `models/static/tuned`, `models/onnx/static`.

    Raises:
        BadInput: a file is missing, damaged or outside the folder, or the static encoder is turned off.
    """

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)
        record = read_json(self._folder, RECORD, RULE, "the record of a static encoder", MISSING, REMEDY)
        for name in (VECTORS, TOKENIZER):
            if name not in record["files"]:
                raise BadInput(f"{self._folder}: no {name}: the static encoder is off (static.steps: 0); turn it on")
            _verify_sha256(confined(self._folder, name, REMEDY), record["files"][name]["sha256"])
        self.dim: int = record["dim"]
        self.fingerprint: str = record["encoder"]
        with _failures(f"{self._folder / TOKENIZER}: not a tokenizer"):
            self._tokenizer = Tokenizer.from_file(str(self._folder / TOKENIZER))
        self._tokenizer.no_padding()
        tensors = read_tensors(self._folder / VECTORS, REMEDY)
        self._vectors, self._weights = (tensors.get(name, np.empty(0)) for name in (EMBEDDINGS, WEIGHTS))
        n = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        shapes, expected = (self._vectors.shape, self._weights.shape), ((n, self.dim), (n,))
        if shapes != expected:
            raise BadInput(f"{self._folder / VECTORS}: {shapes}, expected {expected} by the tokenizer; {REMEDY}")
        if not np.isfinite(self._weights).all():
            raise BadInput(f"{self._folder / VECTORS}: weights hold NaN or infinity, expected finite ones; {REMEDY}")

    def encode_query(self, texts: Sequence[str]) -> Float32:
        """Embeds queries; each is cut at the maximum length of its encoder.

        Returns:
            (n texts, dim), in the order of the texts; rows have length 1, or are zeros where no token has a vector.

        Raises:
            BadInput: a text is not valid Unicode.
            TypeError: texts is one string instead of several, or holds something else than strings.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; give a list of strings")
        for place, text in enumerate(texts):
            _check(place, text)
        with _failures(f"{self._folder / TOKENIZER}: fails"):
            encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        embeddings = np.empty((len(texts), self.dim), dtype=np.float32)
        for place, encoding in enumerate(encodings):
            ids = encoding.ids
            embeddings[place] = summed(self._vectors[ids], self._weights[ids])
        return embeddings


def summed(vectors: NDArray[np.int8] | Float32, weights: Float32) -> Float32:
    """Returns the weighted sum of the vectors of one text's tokens, of length 1; zeros where nothing adds up.

    Args:
        vectors: (n_tokens, dim).
        weights: (n_tokens,).
    """
    total: Float32 = weights @ vectors.astype(np.float32)
    length = np.sqrt(total @ total)
    embedding: Float32 = total / np.maximum(length, np.float32(LEAST_LENGTH))
    return embedding


def is_on(folder: Path | str) -> bool:
    """Tells whether a folder of stage static holds token vectors: not with static.steps: 0.

    Raises:
        BadInput: the folder has no record of a static encoder.
    """
    record = read_json(Path(folder), RECORD, RULE, "the record of a static encoder", MISSING, REMEDY)
    return VECTORS in record["files"]


def _check(place: int, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"text {place} is {type(text).__name__}, expected a string; remove it or write it as text")
    try:
        text.encode()
    except UnicodeEncodeError:
        what = "got half of a surrogate pair, expected valid Unicode; decode the text again or replace it"
        raise BadInput(f"text {place}: {what}") from None


def _verify_sha256(path: Path, expected: str) -> None:
    got = sha256_of(path)
    if got != expected:
        raise BadInput(f"{path}: sha256 is {got}, expected {expected}; {REMEDY}")


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Turns a failure of tokenizers into BadInput; a panic in its Rust code is a BaseException.

    As `attune.runtime.sessions.failures`, whose module imports onnxruntime.
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BadInput(f"{what} ({one_line(error)[:SHOWN]}); {REMEDY}") from None
