"""An encoder of the first layers of another, in which every kind of its layers occurs."""

import logging
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from attune.encoding.encoders import TorchEncoder, load_torch

BATCH_TOKENS = 4096


def first_layers(model: SentenceTransformer, folder: Path, out: Path) -> Path | None:
    """Saves an encoder of the first layers; None where it cannot be made or would have them all.

    Layers are of one kind if their modules and weights have the same names, types and shapes, and config.json calls
    them the same (layer_types). As many are kept as have each kind: a layer with experts may be every second one.

    Args:
        model: the whole encoder.
        folder: of it.
        out: folder to write.
    """
    config = model.transformers_model.config
    types, n_layers = list(getattr(config, "layer_types", None) or ()), getattr(config, "num_hidden_layers", 0)
    if not isinstance(n_layers, int) or n_layers < 1:
        return None
    n = max(n_first(types), n_first(_structures(model, n_layers)), 1)
    if n >= n_layers:
        return None
    logging.disable(logging.WARNING)  # transformers lists the weights of the layers that are left out
    try:
        short = load_torch(folder, {"num_hidden_layers": n} | ({"layer_types": types[:n]} if types else {}))
        vectors = TorchEncoder(short, "fp32", BATCH_TOKENS).encode_document(["graph"])
        short.save_pretrained(str(out), create_model_card=False)
    except Exception:  # an architecture whose layers are counted elsewhere; the whole encoder serves
        return None
    finally:
        logging.disable(logging.NOTSET)
    return out if np.isfinite(vectors).all() else None


def n_first(kinds: list[str]) -> int:
    """Returns how many of the first items hold each kind that occurs; 0 of none."""
    return max((kinds.index(kind) + 1 for kind in set(kinds)), default=0)


def _structures(model: SentenceTransformer, n_layers: int) -> list[str]:
    """Returns a text for each layer that is equal where modules and weights are; empty where no list holds them."""
    lists = [m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == n_layers]
    return [
        "; ".join(
            [f"{name} {type(part).__name__}" for list_ in lists for name, part in list_[place].named_modules()]
            + [f"{name} {tuple(part.shape)}" for list_ in lists for name, part in list_[place].named_parameters()]
        )
        for place in range(n_layers if lists else 0)
    ]
