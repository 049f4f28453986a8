"""optimum: ORTModelForFeatureExtraction on a graph of the folder, transformers' tokenizer, pooling as its docs show."""

from pathlib import PurePosixPath
from typing import Any

import numpy as np
from driver import answer, batches, pool
from optimum.onnxruntime import ORTModelForFeatureExtraction
from transformers import AutoTokenizer


def embed(run: dict[str, Any], texts: list[str], request: dict[str, Any]) -> Any:
    """Cuts at the maximum length of tokenizer_config.json; reads the output by name."""
    graph = PurePosixPath(run["graph"])
    model = ORTModelForFeatureExtraction.from_pretrained(
        run["folder"], subfolder=str(graph.parent), file_name=graph.name, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(run["folder"], local_files_only=True)
    found = []
    for batch in batches(texts, run["batch_size"]):
        features = tokenizer(batch, padding=True, truncation=True, return_tensors="np")
        hidden = np.asarray(model(**features).last_hidden_state)
        found.append(pool(hidden, features["attention_mask"], request["pooling"]))
    return np.concatenate(found)


if __name__ == "__main__":
    answer(embed, "optimum-onnx", "optimum", "transformers", "onnxruntime")
