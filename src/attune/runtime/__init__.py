"""Runs an exported encoder with numpy, tokenizers and onnxruntime (search: and FAISS); no torch.

`Embedder` and `verify` are imported at first use, so that modules which need only the array types load numpy alone.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attune.runtime.embedder import Embedder
    from attune.runtime.integrity import verify

__all__ = ["Embedder", "verify"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  a class and a function
    if name == "Embedder":
        from attune.runtime.embedder import Embedder  # noqa: PLC0415

        return Embedder
    if name == "verify":
        from attune.runtime.integrity import verify  # noqa: PLC0415

        return verify
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
