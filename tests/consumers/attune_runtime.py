"""attune's own runtime."""

from dataclasses import replace
from typing import Any

from driver import answer

from attune.runtime import Embedder


def embed(run: dict[str, Any], texts: list[str], request: dict[str, Any]) -> Any:
    """Embeds as a service does, but without the default prompt, which other consumers lack."""
    embedder = Embedder(run["folder"], run["graph"], threads=1)
    embedder.manifest = replace(embedder.manifest, default_prompt_name=None)
    return embedder.encode(texts, batch_size=run["batch_size"])


if __name__ == "__main__":
    answer(embed, "onnxruntime", "tokenizers")
