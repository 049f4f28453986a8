"""Refuses models whose settings say that no single vector per text, compared by cosine, comes out of them.

The small files of a folder say so before any weight is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attune.encoding.families import WITHOUT_CODE
from attune.errors import BadInput

INSTEAD = f"use an encoder of one vector per text, such as {WITHOUT_CODE}"
CROSS, SPARSE, MULTI, IMAGE = "cross-encoder", "sparse encoder", "multi-vector encoder", "image encoder"
PAIR = "sequence-to-sequence model"
SAID = {
    CROSS: "a cross-encoder, which scores pairs and has no vector of a text; it can judge mined negatives "
    "(mine.reranker, models/rerankers/README.md)",
    SPARSE: "a sparse encoder (SPLADE), whose vectors have a number for each word of its vocabulary",
    MULTI: "a multi-vector encoder (ColBERT), which keeps a vector for each token",
    IMAGE: "an encoder of images or sound, of which no ONNX folder has the text part alone",
    PAIR: "a sequence-to-sequence model, whose last vectors are its decoder's",
}
# by the model_type in config_sentence_transformers.json, and by a part of the types in modules.json, in lower case
OF_LIBRARY = {"CrossEncoder": CROSS, "SparseEncoder": SPARSE, "MultiVectorEncoder": MULTI}
OF_MODULES = {
    **{"cross_encoder": CROSS, "sparse_encoder": SPARSE, "splade": SPARSE},
    **{"multi_vector": MULTI, "pylate": MULTI, "clipmodel": IMAGE},
}
WITH_ENCODER = ("t5", "mt5", "umt5", "longt5")  # model_type of pairs whose encoder the library loads alone
POOLINGS = ("cls", "mean", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
LAYERS = ("Transformer", "Pooling", "Dense", "Normalize")


def refuse_other_kinds(
    model: str, config: Mapping[str, Any], library: Mapping[str, Any], modules: Sequence[str]
) -> None:
    """Refuses what is no encoder of texts into single vectors.

    Args:
        model: name, for messages.
        config: of config.json; empty where there is none, like the others.
        library: of config_sentence_transformers.json.
        modules: types in modules.json.

    Raises:
        BadInput: it is a cross-encoder, sparse, multi-vector, of images or sound, or has a decoder.
    """
    if kind := next(_kinds(config, library, modules), ""):
        raise BadInput(f"{model}: {SAID[kind]}; {INSTEAD}")


def _kinds(config: Mapping[str, Any], library: Mapping[str, Any], modules: Sequence[str]) -> Iterator[str]:
    """Yields the kinds that settings tell of, the most certain first."""
    if (named := str(library.get("model_type"))) in OF_LIBRARY:
        yield OF_LIBRARY[named]
    types, classes = " ".join(modules).lower(), str(config.get("architectures")).lower()
    yield from (kind for part, kind in OF_MODULES.items() if part in types)
    if "colbert" in classes or "maxsim" in str(library.get("similarity_fn_name")).lower():
        yield MULTI
    if "forsequenceclassification" in classes and not modules:
        yield CROSS
    if {"vision_config", "audio_config", "image_size"} & set(config):
        yield IMAGE
    if config.get("is_encoder_decoder") and config.get("model_type") not in WITH_ENCODER:
        yield PAIR


def refuse_other_vectors(
    model: str, library: Mapping[str, Any], layers: Sequence[str], pooling: str, with_prompt: bool
) -> None:
    """Refuses an encoder whose vectors no exported folder can give.

    Args:
        model: name, for messages.
        library: of config_sentence_transformers.json.
        layers: kinds of its modules, in order; empty where nothing is said, so that the mean is taken.
        pooling: modes, joined by +; "" where nothing is said.
        with_prompt: whether the prompt's tokens are pooled, too.

    Raises:
        BadInput: other modules, several poolings or an unknown one, prompts left out of it, or no cosine.
    """
    if others := [layer for layer in layers if layer not in LAYERS]:
        raise BadInput(f"{model}: modules {', '.join(others)} cannot be exported, only {', '.join(LAYERS)}; {INSTEAD}")
    if pooling and pooling not in POOLINGS:
        raise BadInput(f"{model}: pooling is {pooling}, expected one of {', '.join(POOLINGS)}; {INSTEAD}")
    if not with_prompt:
        raise BadInput(f"{model}: its pooling leaves the prompt out, which no ONNX folder can express; {INSTEAD}")
    similarity = library.get("similarity_fn_name") or "cosine"
    if similarity != "cosine" and layers and layers[-1] != "Normalize":
        raise BadInput(
            f"{model}: similarity is {similarity} of vectors that are not normalised, but attune ranks by cosine; "
            "save it with a Normalize module and similarity cosine, or use its makers' encoder for cosine"
        )
