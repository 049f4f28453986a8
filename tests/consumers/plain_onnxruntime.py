"""onnxruntime and tokenizers alone, as any program in any language can use the folder.

tokenizer.json defines truncation and padding; output 0 is pooled here and must equal output 1 of the graph.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from driver import answer, batches, pool
from tokenizers import Tokenizer


def embed(run: dict[str, Any], texts: list[str], request: dict[str, Any]) -> Any:
    """Pools output 0; raises ValueError if the result differs from output 1."""
    folder = Path(run["folder"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    session = onnxruntime.InferenceSession(str(folder / run["graph"]), providers=["CPUExecutionProvider"])
    found = []
    for batch in batches(texts, run["batch_size"]):
        rows = tokenizer.encode_batch(batch)
        features = {
            "input_ids": np.array([row.ids for row in rows], dtype=np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], dtype=np.int64),
            "token_type_ids": np.array([row.type_ids for row in rows], dtype=np.int64),
        }
        wanted = [node.name for node in session.get_inputs()]
        hidden, pooled = session.run(None, {name: features[name] for name in wanted})
        found.append(pool(hidden, features["attention_mask"], request["pooling"]))
        if not np.abs(found[-1] - pooled).max() < 1e-5:
            raise ValueError(f"output 0, pooled, differs from output 1 by {np.abs(found[-1] - pooled).max()}")
    return np.concatenate(found)


if __name__ == "__main__":
    answer(embed, "onnxruntime", "tokenizers")
