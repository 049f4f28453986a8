"""Embeds texts with an exported encoder: services and the pipeline's evaluation run this code."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from attune.errors import BadInput
from attune.runtime.adapter import ADAPTER, QueryAdapter
from attune.runtime.arrays import Float32, Int64
from attune.runtime.engines import OUTPUT, load_engine
from attune.runtime.folders import confined
from attune.runtime.manifest import ENCODER, REMEDY, TOKENIZER, read_manifest
from attune.runtime.sessions import SHOWN, failures

Progress = Callable[[int, int], None]  # number of texts embedded so far, total number
TOKENIZER_BATCH = 4096  # texts; the library's encodings are far larger than the token ids kept of them
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Embedder:
    """An exported encoder: texts to L2-normalised embeddings.

    One instance serves any number of threads: nothing in it changes after construction. The other texts of a batch
    change an embedding by rounding only.

    Args:
        folder: written by stage export (`models/onnx`).
        file: graph to run: `onnx/model.onnx` is fp32, `onnx/model_quantized.onnx` int8; `onnx/model_fp16.onnx` is for
            GPUs, and on a CPU no faster than fp32.
        threads: CPU threads for one batch; None takes one per physical core.
        engine: onnxruntime, or openvino where it is installed: faster on batches, no faster on one query.
        precision: of matrix products in an fp32 graph: fp32, or with openvino bf16, which differs by rounding
            (cosine above .9999) and is faster on CPUs that have it.

    Raises:
        BadInput: a file is missing, damaged or outside the folder, or the engine is not installed; encoding: tokenizer
            and graph do not fit together.
    """

    def __init__(
        self,
        folder: Path | str,
        file: str = "onnx/model.onnx",
        threads: int | None = None,
        engine: str = "onnxruntime",
        precision: str = "fp32",
    ) -> None:
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        if ENCODER in self.manifest.files and file not in self.manifest.files:
            raise BadInput(f"{folder / ENCODER}: an encoder behind an endpoint has no graph here; embed there")
        self.dim = self.manifest.dim
        self._place = f"{folder / file}"
        self._tokenizer = _load_tokenizer(confined(folder, TOKENIZER, REMEDY))
        self._pad_id = (self._tokenizer.padding or {}).get("pad_id", 0)
        self._tokenizer.no_padding()  # batches are padded here, after sorting by length
        self._engine = load_engine(engine, precision, confined(folder, file, REMEDY), threads)
        # one thread: after a query, the encoder's threads go on waiting for work, and further ones would wait for them
        self._adapter = QueryAdapter(folder, 1) if ADAPTER in self.manifest.files else None
        if self._adapter is not None and self._adapter.dim != self.dim:
            raise BadInput(f"{folder / ADAPTER}: {self._adapter.dim} dimensions, expected {self.dim}; {REMEDY}")
        if not {*self._engine.inputs} <= {*INPUTS} or OUTPUT not in self._engine.outputs:
            got = f"inputs {self._engine.inputs}, outputs {self._engine.outputs}"[:SHOWN]
            raise BadInput(f"{self._place}: {got}; expected inputs among {[*INPUTS]}, an output {OUTPUT}; {REMEDY}")

    @property
    def fingerprint(self) -> str:
        """Identifies the encoder: `Search` compares it and refuses the queries of another encoder."""
        return self.manifest.fingerprint()

    def encode(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Float32:
        """Embeds texts with the default prompt, if the encoder has one, as SentenceTransformer.encode does.

        Args:
            texts: any number, in any order; each is cut at the encoder's maximum length.
            batch_size: texts per run of the graph; sorted by length first, which saves padding.
            show_progress: counts texts on stderr, if that is a terminal.
            progress: called after each batch with the number of embedded texts and their total number.

        Returns:
            (n texts, dim), in the order of the texts; rows have length 1.

        Raises:
            BadInput: a text is not valid Unicode.
            TypeError: texts is one string instead of several, or holds something else than strings; says where.
            ValueError: batch_size is below 1.
        """
        return self._encode(texts, self.manifest.default_prompt_name, batch_size, show_progress, progress)

    def encode_query(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
        adapter: bool = False,
    ) -> Float32:
        """Embeds queries with the query prompt, if the encoder has one; arguments and result are those of `encode`.

        Args:
            adapter: also maps the embeddings through the folder's query adapter, for an index of the documents as
                `encode_document` embeds them.

        Raises:
            BadInput: the folder has no query adapter.
        """
        if adapter and self._adapter is None:
            raise BadInput(
                f"{self._place}: its folder has no {ADAPTER}; give a folder that has, such as models/adapter"
            )
        embeddings = self._encode(texts, "query", batch_size, show_progress, progress)
        return self._adapter(embeddings) if adapter and self._adapter else embeddings

    def encode_document(
        self,
        texts: Sequence[str],
        batch_size: int = 32,
        show_progress: bool = False,
        progress: Progress | None = None,
    ) -> Float32:
        """Embeds documents with the document prompt, if it has one; arguments and result are those of `encode`."""
        return self._encode(texts, "document", batch_size, show_progress, progress)

    def token_ids(self, texts: Sequence[str], prompt_name: str | None = None) -> list[Int64]:
        """Tokenizes texts for `encode_tokens`.

        Args:
            texts: any number.
            prompt_name: a key of the manifest's prompts, such as "query"; a missing one is an empty prompt.

        Returns:
            One row of token ids per text, with prompt and special tokens, cut at the maximum length.

        Raises:
            BadInput: a text is not valid Unicode.
            TypeError: texts is one string instead of several, or holds something else than strings; says where.
        """
        if isinstance(texts, str):
            raise TypeError("texts is one string; give a list of strings")
        prompt = self.manifest.prompts.get(prompt_name or "", "")
        rows: list[Int64] = []
        for start in range(0, len(texts), TOKENIZER_BATCH):
            part = texts[start : start + TOKENIZER_BATCH]
            try:
                batch = [prompt + text for text in part]
                with failures(f"{self._place}: its tokenizer fails", TypeError):
                    encodings = self._tokenizer.encode_batch_fast(batch)
            except TypeError:
                raise _invalid(part, start) from None
            rows += [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        return rows

    def encode_tokens(self, rows: Sequence[Int64], batch_size: int = 32, progress: Progress | None = None) -> Float32:
        """Embeds rows of token ids, for callers that need the tokens too, for example to count them.

        Args:
            rows: from `token_ids`.
            batch_size: rows per run of the graph.
            progress: as for `encode`.

        Returns:
            (n rows, dim), in the order of the rows.

        Raises:
            ValueError: batch_size is below 1.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        # longest first: memory runs out in the first batch or not at all
        order = np.argsort([-len(row) for row in rows], kind="stable")
        embeddings = np.empty((len(rows), self.dim), dtype=np.float32)
        for start in range(0, len(rows), batch_size):
            batch = order[start : start + batch_size]
            embeddings[batch] = self._run(self._features([rows[i] for i in batch]), (len(batch), self.dim))
            if progress:
                progress(start + len(batch), len(rows))
        return embeddings

    def _encode(
        self, texts: Sequence[str], kind: str | None, batch_size: int, show_progress: bool, progress: Progress | None
    ) -> Float32:
        """Embeds texts of one kind: "query", "document", or the manifest's default; it selects the prompt."""
        return self.encode_tokens(
            self.token_ids(texts, kind), batch_size, progress or (_print_progress if show_progress else None)
        )

    def _run(self, features: dict[str, Int64], shape: tuple[int, int]) -> Float32:
        """Runs the graph on one batch; vectors of another size than the manifest's are refused, not broadcast."""
        with failures(f"{self._place}: fails on the ids of tokenizer.json"):
            vectors = self._engine.run(features)
        if vectors.shape != shape:
            raise BadInput(f"{self._place}: computes {vectors.shape}, expected {shape} by the manifest's dim; {REMEDY}")
        return vectors

    def _features(self, rows: list[Int64]) -> dict[str, Int64]:
        """Pads token ids to (batch, longest row) and returns the inputs of the graph by name."""
        step, longest = self._engine.length_step, max(len(row) for row in rows)
        # rounded up, but not beyond the encoder's positions
        shape = (len(rows), max(longest, min(-(-longest // step) * step, self.manifest.max_length)))
        ids, mask = np.full(shape, self._pad_id, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = row
            mask[place, : len(row)] = 1
        features = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, dtype=np.int64)}
        return {name: features[name] for name in self._engine.inputs}


def _load_tokenizer(path: Path) -> Tokenizer:
    with failures(f"{path}: not a tokenizer"):
        return Tokenizer.from_file(str(path))


def _invalid(texts: Sequence[object], start: int) -> Exception:
    """Returns the error that names the first text which is no string, or not valid Unicode."""
    for place, text in enumerate(texts, start):
        if not isinstance(text, str):
            return TypeError(f"text {place} is {type(text).__name__}, expected a string; remove it or write it as text")
        if any("\ud800" <= character <= "\udfff" for character in text):
            what = "got half of a surrogate pair, expected valid Unicode; decode the text again or replace it"
            return BadInput(f"text {place}: {what}")
    return TypeError(f"texts {start} to {start + len(texts)} are not strings that the tokenizer takes; write them anew")


def _print_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rencode: {done}/{total} texts" + "\n" * (done == total))
        sys.stderr.flush()
