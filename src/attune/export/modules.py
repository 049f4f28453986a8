"""Modules of an encoder: checks that an exported folder can express them, and reads the consumers' settings."""

from pathlib import Path

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from attune.errors import BadInput
from attune.export.folder import POOLING_FLAGS, Description

SUPPORTED = "Transformer, Pooling, any number of Dense, Normalize"


def is_plain_dense(module: object) -> bool:
    """Tells whether a module is a linear layer on the pooled vector that all versions of the library can load."""
    if not isinstance(module, Dense) or module.use_residual:
        return False
    return {module.module_input_name, module.module_output_name} == {"sentence_embedding"}


def describe(encoder: SentenceTransformer, model: Path) -> Description:
    """Returns the settings that consumers of the encoder need.

    Raises:
        BadInput: the encoder has modules or settings that the exported folder cannot express.
    """
    kinds = [type(module).__name__ for module in encoder]
    has_length_1 = kinds[-1] == "Normalize"
    layers = list(encoder)[2 : len(kinds) - has_length_1]
    if kinds[:2] != ["Transformer", "Pooling"] or not all(is_plain_dense(layer) for layer in layers):
        raise BadInput(
            f"{model}: modules are {', '.join(kinds)}; export supports {SUPPORTED} only, and no Dense with a residual"
        )
    pooling = encoder[1]
    if pooling.pooling_mode not in POOLING_FLAGS or not pooling.include_prompt:
        raise BadInput(
            f"{model}: pooling {pooling.get_config_dict()} cannot be exported; use one mode, prompt included"
        )
    if not has_length_1 and encoder.similarity_fn_name != "cosine":
        raise BadInput(f"{model}: similarity is {encoder.similarity_fn_name} without Normalize; export needs cosine")
    prompts = {name: encoder.prompts[name] for name in sorted(encoder.prompts)}
    return Description(
        dim=encoder.get_embedding_dimension(),
        hidden_size=pooling.embedding_dimension,
        n_dense=len(layers),
        max_length=encoder.max_seq_length,
        pooling=pooling.pooling_mode,
        prompts=prompts,
        default_prompt_name=encoder.default_prompt_name,
        similarity=encoder.similarity_fn_name,
    )
