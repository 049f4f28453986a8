"""Encoders in torch: texts in, L2-normalised embeddings out. Services run `attune.runtime.Embedder` instead."""

import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from tqdm import tqdm
from transformers.utils.logging import disable_progress_bar

from attune.encoding.origin import right_precision
from attune.errors import BadInput


def best_precision() -> str:
    """Returns bf16 where the hardware multiplies it natively (CUDA, or a CPU with AVX-512 BF16 or AMX), else fp32."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if capabilities.get("avx512_bf16") or capabilities.get("amx_tile") else "fp32"


def precision_of(folder: Path, precision: str) -> str:
    """Returns the number format of an encoder's matrix products: fp32 or bf16.

    Stage base writes into attune.json of an encoder that is wrong in bf16 which precision is right; all encoders tuned
    from it hold a copy.

    Args:
        folder: of the encoder.
        precision: machine.precision; auto takes what attune.json says, else the best of the hardware.
    """
    return precision if precision != "auto" else right_precision(folder) or best_precision()


def load_torch(
    folder: Path, config: Mapping[str, Any] | None = None, remedy: str = "delete it and run `dvc repro`"
) -> SentenceTransformer:
    """Loads a sentence-transformers folder in float32 on the GPU, if there is one, or the CPU.

    Weights saved in fp16 or bf16 are widened: small steps of training would be lost in them, and the exported graph
    would compute other vectors.

    Args:
        folder: of the encoder.
        config: settings of the transformer that replace those of its config.json.
        remedy: for the line of an encoder that cannot be loaded.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    try:
        kwargs = {"model_kwargs": {"dtype": torch.float32}, "config_kwargs": dict(config or {})}
        model = SentenceTransformer(str(folder), local_files_only=True, **kwargs).float()  # Dense, too
    except Exception as error:  # three libraries load the files, each with exceptions of its own
        raise BadInput(f"{folder}: cannot be loaded as an encoder ({error}); {remedy}") from None
    if "message" in getattr(model[0], "modality_config", {}) or getattr(model[0], "processing_kwargs", None):
        # neither the ONNX folder nor the programs that load it could apply the template
        raise BadInput(
            f"{folder}: this encoder reads texts through a chat template or processing of its own, expected "
            "one that reads them as they are; choose another base.model"
        )
    return model


def load_for_export(model: Path) -> SentenceTransformer:
    """Loads the encoder for inference on the CPU in fp32.

    Raises:
        BadInput: the folder is missing, damaged, or not a sentence-transformers folder.
    """
    if not (model / "modules.json").is_file():  # without it the library assumes mean pooling
        raise BadInput(
            f"{model / 'modules.json'}: not found; give a sentence-transformers folder, such as models/tuned"
        )
    return load_torch(model).to("cpu").float().eval()


class TorchEncoder:
    """Encoder of a sentence-transformers model in fp32 or bf16, in batches bounded by their tokens.

    Texts are sorted by their number of tokens, so a batch holds texts of like length and little padding.

    Args:
        model: the encoder.
        precision: fp32, or bf16 for matrix products in bf16.
        batch_tokens: tokens per batch, padding included.
    """

    def __init__(self, model: SentenceTransformer, precision: str, batch_tokens: int) -> None:
        self.model = model.eval()
        self.is_bf16 = precision == "bf16"
        self.batch_tokens = batch_tokens
        self._compute = with_bf16_products(model) if self.is_bf16 else model

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""
        return int(self.model.get_embedding_dimension())

    def encode_query(self, texts: Sequence[str], show_progress: bool = False) -> NDArray[np.float32]:
        """Embeds queries: (n texts) -> (n, dim)."""
        return self._encode([self.model.prompts.get("query", "") + text for text in texts], show_progress)

    def encode_document(self, texts: Sequence[str], show_progress: bool = False) -> NDArray[np.float32]:
        """Embeds documents: (n texts) -> (n, dim)."""
        return self._encode([self.model.prompts.get("document", "") + text for text in texts], show_progress)

    def _encode(self, texts: list[str], show_progress: bool) -> NDArray[np.float32]:
        tokens = self.model.tokenizer(texts, truncation=True, padding=False)
        batches = token_batches([len(ids) for ids in tokens["input_ids"]], self.batch_tokens)
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        computed = []
        # disable=None: no bar unless stderr is a terminal
        with tqdm(total=len(texts), desc="encode", unit="text", disable=None if show_progress else True) as bar:
            for rows in batches:
                batch = {name: [values[row] for row in rows] for name, values in tokens.items()}
                computed.append(self._embed_batch(batch))
                bar.update(len(rows))
        for rows, embeddings in zip(batches, computed, strict=True):  # last, as reading an embedding waits for the GPU
            out[rows] = embeddings.cpu().numpy()
        return out

    def _embed_batch(self, tokens: dict[str, list[list[int]]]) -> torch.Tensor:
        device = self.model.device
        padded = self.model.tokenizer.pad(tokens, return_tensors="pt")
        if device.type == "cuda":
            padded = {name: values.pin_memory() for name, values in padded.items()}
        features = {name: values.to(device, non_blocking=True) for name, values in padded.items()}
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=self.is_bf16):
            embeddings = self._compute(features)["sentence_embedding"].float()
        return torch.nn.functional.normalize(embeddings, dim=1)


def with_bf16_products(model: SentenceTransformer) -> SentenceTransformer:
    """Copies the encoder with its matrices in bf16, for use under autocast, which would convert them for each batch.

    Everything else is shared with the original, which stays as it is; later changes of its matrices are not copied.
    """
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for part in (model.tokenizer, model.model_card_data):  # they hold no weights
        shared[id(part)] = part
    copied = copy.deepcopy(model, shared)
    for module in copied.modules():
        if type(module) is torch.nn.Linear:
            module.weight, module.bias = (
                value if value is None else torch.nn.Parameter(value.detach().bfloat16(), requires_grad=False)
                for value in (module.weight, module.bias)
            )
    return copied


def token_batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Groups rows of like length into batches of at most `batch_tokens` tokens, padding included; longest first.

    Longest first, so that memory runs out at the start if at all, and the progress bar is not too optimistic.
    """
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    batches: list[list[int]] = []
    for row in order:
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    return batches
