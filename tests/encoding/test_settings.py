"""Settings that the small files of an encoder's folder give, whatever its family calls them."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from attune.cli.base.command import cost
from attune.encoding.settings import Settings, read_settings


def settings_of(**config: Any) -> Settings:
    """Returns the settings of a folder with this config.json alone."""
    return read_settings("makers/encoder", {"config.json": json.dumps(config)})


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"model_type": "gpt2", "n_positions": 1024}, 1024),
        ({"model_type": "gptj", "n_positions": 2048}, 2048),
        ({"model_type": "t5", "n_positions": 512}, 0),  # of no use there: positions are relative
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "mpnet", "max_position_embeddings": 514}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
        ({"model_type": "bert", "max_position_embeddings": "512"}, 0),
    ],
)
def test_positions_are_those_that_hold_a_token(config: dict[str, Any], positions: int) -> None:
    """Under each family's name for them; 0 is no limit, of relative positions or of what is no number."""
    assert (settings_of(**config).positions, settings_of(**config).max_length) == (positions, positions)


@pytest.mark.parametrize(
    ("config", "dimension", "n_token_numbers"),
    [
        ({"hidden_size": 384, "vocab_size": 100}, 384, 38_400),
        ({"model_type": "distilbert", "dim": 768, "vocab_size": 100}, 768, 76_800),
        ({"model_type": "t5", "d_model": 768, "vocab_size": 100}, 768, 76_800),
        ({"model_type": "gpt2", "n_embd": 768, "vocab_size": 100}, 768, 76_800),
        ({"model_type": "electra", "hidden_size": 256, "embedding_size": 128, "vocab_size": 100}, 256, 12_800),
    ],
)
def test_width_and_token_vectors_have_many_names(config: dict[str, Any], dimension: int, n_token_numbers: int) -> None:
    """The cost leaves out the token vectors, which are looked up; ELECTRA's are narrower than its layers."""
    found = settings_of(**config)
    assert (found.dimension, found.n_token_numbers) == (dimension, n_token_numbers)


def test_the_cost_of_shared_layers_is_not_known() -> None:
    """ALBERT computes twelve layers with the parameters of one."""
    source: Any = SimpleNamespace(n_parameters=12_000_000)
    config = {"hidden_size": 768, "embedding_size": 128, "vocab_size": 30_000}
    assert cost(source, settings_of(architectures=["AlbertModel"], **config)) == "not known"
    assert cost(source, settings_of(architectures=["BertModel"], **config)).startswith("about 0.8 times")
