"""fastembed, any version with custom models: registers one for each graph, read from the local folder."""

from typing import Any

import numpy as np
from driver import answer
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType

POOLING = {"mean": PoolingType.MEAN, "cls": PoolingType.CLS}  # supported by all versions
registered: set[str] = set()


def embed(run: dict[str, Any], texts: list[str], request: dict[str, Any]) -> Any:
    """Embeds with a custom model; `sources` is mandatory but unused with a local path."""
    name = f"local/{run['graph']}"
    if name not in registered:
        TextEmbedding.add_custom_model(
            model=name,
            pooling=POOLING[request["pooling"]],
            normalization=True,
            sources=ModelSource(hf="local/none"),
            dim=request["dim"],
            model_file=run["graph"],
        )
        registered.add(name)
    model = TextEmbedding(name, specific_model_path=run["folder"], local_files_only=True, threads=1)
    return np.stack(list(model.embed(texts, batch_size=run["batch_size"])))


if __name__ == "__main__":
    answer(embed, "fastembed", "tokenizers", "onnxruntime")
