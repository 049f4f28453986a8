"""Parameters of mining for tests."""

from attune.tuning.mining.rules import MineParams


def mine_params(**changes: object) -> MineParams:
    """Returns two negatives at depth 6, every option off, one thread; changes replace any of these."""
    values: dict[str, object] = {
        "n_negatives": 2,
        "max_own_negatives": 2,
        "lexical_share": 0.0,
        "depth": 6,
        "index": "flat",
        "first_rank": 0,
        "max_share_of_positive": 0.9,
        "min_margin": 0.0,
        "same_query": 1.01,
        "reranker": "",
        "n_sample": 5,
        "machine": {"threads": 1, "precision": "fp32", "batch_tokens": 4096},
    }
    return MineParams.model_validate(values | changes)
