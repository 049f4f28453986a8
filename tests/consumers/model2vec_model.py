"""model2vec: loads the folder of a static query encoder as one of its own models."""

from typing import Any

from driver import answer
from model2vec import StaticModel


def embed(run: dict[str, Any], texts: list[str], _request: dict[str, Any]) -> Any:
    """Embeds with the folder's own settings: normalised, cut at the encoder's maximum length."""
    return StaticModel.from_pretrained(run["folder"]).encode(texts, batch_size=run["batch_size"])


if __name__ == "__main__":
    answer(embed, "model2vec", "tokenizers")
