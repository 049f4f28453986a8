"""sentence-transformers, any version: the folder with its torch weights, or one of its graphs (backend onnx)."""

from typing import Any

from driver import answer
from sentence_transformers import SentenceTransformer


def embed(run: dict[str, Any], texts: list[str], request: dict[str, Any]) -> Any:
    """Embeds as users do, but without the prompt, which other consumers lack."""
    chosen: dict[str, Any] = {}
    if run["graph"]:
        chosen = {"backend": "onnx", "model_kwargs": {"file_name": run["graph"], "provider": "CPUExecutionProvider"}}
    model = SentenceTransformer(run["folder"], device="cpu", local_files_only=True, **chosen)
    return model.encode(texts, batch_size=run["batch_size"], prompt="")


if __name__ == "__main__":
    answer(embed, "sentence-transformers", "transformers", "torch", "onnxruntime")
