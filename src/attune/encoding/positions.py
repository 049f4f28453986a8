"""Number of tokens that a transformer can read, by its settings."""

from collections.abc import Mapping
from typing import Any

# RoBERTa and its kin number positions from the padding id + 1, so that many positions more are in config.json
OFFSET_MODELS = (
    *("camembert", "data2vec-text", "ibert", "lilt", "longformer", "luke", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
)
OTHER_NAME = ("codegen", "ctrl", "gpt2", "gpt_bigcode", "gptj", "openai-gpt")  # name the number n_positions


def n_positions(config: Mapping[str, Any]) -> int:
    """Returns the largest number of tokens that a transformer can read, by its config.json; 0 where it names no limit.

    MPNet counts from padding id 1, whatever its config.json says.
    """
    kind = config.get("model_type")
    positions = whole_number(config.get("n_positions" if kind in OTHER_NAME else "max_position_embeddings"))
    padding = 1 if kind == "mpnet" else whole_number(config.get("pad_token_id"))
    return max(positions - (padding + 1 if kind in OFFSET_MODELS else 0), 0)


def whole_number(value: object) -> int:
    """Returns a whole number that is not negative; 0 for all else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
