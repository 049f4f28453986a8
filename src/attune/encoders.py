"""Encoders in torch: texts in, L2-normalised embeddings out. The one that ships is `attune.runtime.Embedder`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import batch_to_device
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from attune.errors import BadInput


def best_precision() -> str:
    """bf16 where the hardware multiplies it natively (CUDA, or a CPU with AVX-512 BF16 or AMX), else fp32."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "fp32"


def load_torch(folder: Path) -> SentenceTransformer:
    """Loads a sentence-transformers folder on the GPU, if there is one, or the CPU.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    try:
        return SentenceTransformer(str(folder), local_files_only=True)
    except Exception as error:  # the loaders of three libraries raise what they like
        raise BadInput(f"{folder}: cannot be loaded as an encoder ({error}); delete it and run `dvc repro`") from None


class TorchEncoder:
    """A sentence-transformers folder, run in fp32 or under bf16 autocast, in batches bounded by their tokens.

    Texts are sorted by their number of tokens, so that a batch is as wide as its texts and nothing is spent on padding.
    """

    def __init__(self, model: SentenceTransformer, precision: str, batch_tokens: int) -> None:
        self.model = model.eval()
        self.precision = precision
        self.batch_tokens = batch_tokens

    def encode_query(self, texts: Sequence[str], show_progress: bool = False) -> NDArray[np.float32]:
        """Embeds queries: (n texts) -> (n, dim)."""
        return self._encode([self.model.prompts.get("query", "") + text for text in texts], show_progress)

    def encode_document(self, texts: Sequence[str], show_progress: bool = False) -> NDArray[np.float32]:
        """Embeds documents: (n texts) -> (n, dim)."""
        return self._encode([self.model.prompts.get("document", "") + text for text in texts], show_progress)

    def _encode(self, texts: Sequence[str], show_progress: bool) -> NDArray[np.float32]:
        lengths = [len(ids) for ids in self.model.tokenizer(list(texts), truncation=True, padding=False)["input_ids"]]
        out = np.empty((len(texts), self.model.get_embedding_dimension()), dtype=np.float32)
        # disable=None: no bar where nobody watches
        with tqdm(total=len(texts), desc="encode", unit="text", disable=None if show_progress else True) as bar:
            for rows in token_batches(lengths, self.batch_tokens):
                out[rows] = self._batch([texts[row] for row in rows])
                bar.update(len(rows))
        return out

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        device = self.model.device
        features = batch_to_device(self.model.preprocess(texts), device)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            embeddings = self.model(features)["sentence_embedding"].float()
        return torch.nn.functional.normalize(embeddings, dim=1).cpu().numpy()


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Groups rows of like length into batches of at most `batch_tokens` tokens, padding included; longest first.

    Longest first, so that running out of memory happens at the start and the progress bar errs on the safe side.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches
