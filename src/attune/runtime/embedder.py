"""Texts in, L2-normalised embeddings out: the code a service runs, and the code the pipeline scores."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Tokenizer

from attune.errors import BadInput
from attune.runtime.manifest import read_manifest

Progress = Callable[[int, int], None]  # how many texts are done, of how many
TOKENISED_AT_ONCE = 4096  # texts; the library's records of a text are far larger than its token ids


class Embedder:
    """An exported encoder.

    One instance serves any number of threads: nothing in it changes after construction.

    Args:
        folder: what the export stage wrote (`models/onnx`).
        file: which graph; `onnx/model.onnx` is fp32, `onnx/model_quantized.onnx` int8; an
            fp16 one, meant for GPUs, runs here no faster than fp32. The texts that share a batch do not change each
            other's embeddings, but for rounding.
        threads: CPU threads for one batch; None takes one per physical core.

    Raises:
        BadInput: a file is missing or damaged.
    """

    def __init__(self, folder: Path | str, file: str = "onnx/model.onnx", threads: int | None = None) -> None:
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.dim = self.manifest.dim
        self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
        self._pad_id = (self._tokenizer.padding or {}).get("pad_id", 0)
        self._tokenizer.no_padding()  # batches are padded here, after sorting by length
        self._session = _load_session(folder / file, threads)
        self._inputs = [node.name for node in self._session.get_inputs()]

    @property
    def fingerprint(self) -> str:
        """Names the encoder; `Search` compares it, so that an index is not searched with another encoder's queries."""
        return self.manifest.fingerprint()

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Embeds texts, with the default prompt if the encoder has one, as SentenceTransformer.encode does.

        Args:
            texts: any number, in any order; longer ones are cut at the encoder's maximum length.
            batch_size: texts per run of the graph; they are sorted by length first, so little is spent on padding.
            show_progress: counts on stderr, if that is a terminal.
            progress: called after each batch with how many texts are done, and of how many; for a bar of your own.

        Returns:
            (n texts, dim), in the order of the texts; rows have length 1.

        Raises:
            BadInput: a text is not valid Unicode.
            TypeError: one string was given instead of several.
            ValueError: batch_size is below 1.
        """
        return self._encode(
            texts, self.manifest.default_prompt_name, batch_size, progress or (_show if show_progress else None)
        )

    def encode_query(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Embeds queries, with the query prompt if the encoder has one; otherwise as `encode`."""
        return self._encode(texts, "query", batch_size, progress or (_show if show_progress else None))

    def encode_document(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        """Embeds documents, with the document prompt if the encoder has one; otherwise as `encode`."""
        return self._encode(texts, "document", batch_size, progress or (_show if show_progress else None))

    def token_ids(self, texts: Sequence[str], prompt_name: str | None = None) -> list[NDArray[np.int64]]:
        """What `encode_tokens` reads: one row per text, prompt and special tokens included, cut at the maximum length.

        Args:
            texts: any number.
            prompt_name: a key of the manifest's prompts, such as "query"; one that is not there is an empty prompt.

        Raises:
            BadInput: a text is not valid Unicode.
            TypeError: one string was given instead of several.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; give a list of strings")
        prompt = self.manifest.prompts.get(prompt_name or "", "")
        rows: list[NDArray[np.int64]] = []
        for start in range(0, len(texts), TOKENISED_AT_ONCE):
            some = [prompt + text for text in texts[start : start + TOKENISED_AT_ONCE]]
            try:
                encodings = self._tokenizer.encode_batch_fast(some)
            except TypeError:
                raise BadInput(_invalid(some, start)) from None
            rows += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        return rows

    def encode_tokens(
        self, rows: Sequence[NDArray[np.int64]], batch_size: int = 32, progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Embeds what `token_ids` gave, (n texts, dim): for whoever needs the tokens too, to count them, say.

        Raises:
            ValueError: batch_size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        # longest first: memory runs out at the start or not at all
        order = np.argsort([-len(row) for row in rows], kind="stable")
        embeddings = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            embeddings[batch] = self._session.run(["sentence_embedding"], self._features([rows[i] for i in batch]))[0]
            if progress:
                progress(start + len(batch), len(rows))
        return embeddings

    def _encode(
        self, texts: Sequence[str], prompt_name: str | None, batch_size: int, progress: Progress | None
    ) -> NDArray[np.float32]:
        return self.encode_tokens(self.token_ids(texts, prompt_name), batch_size, progress)

    def _features(self, rows: list[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
        shape = (len(rows), max(len(row) for row in rows))
        ids, mask = np.full(shape, self._pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}
        return {name: features[name] for name in self._inputs}


def _load_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise BadInput(f"{path}: not found; fetch or export the encoder again")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BadInput(f"{path}: not a tokenizer ({error}); fetch or export the encoder again") from None


def _load_session(path: Path, threads: int | None) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise BadInput(f"{path}: not found; fetch or export the encoder again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.log_severity_level = 3  # errors only
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library's exceptions have no common base of their own
        raise BadInput(f"{path}: not a loadable graph ({error}); fetch or export the encoder again") from None


def _invalid(texts: Sequence[str], start: int) -> str:
    place = next(
        i for i, text in enumerate(texts, start) if any("\ud800" <= character <= "\udfff" for character in text)
    )
    return f"text {place}: half of a surrogate pair is not Unicode; decode the text properly or replace the character"


def _show(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rencode: {done}/{total} texts" + "\n" * (done == total))
        sys.stderr.flush()
