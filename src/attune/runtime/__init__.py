"""What ships: runs an exported encoder with numpy, tokenizers and onnxruntime alone; nothing here imports torch."""

from attune.runtime.embedder import Embedder
from attune.runtime.integrity import verify

__all__ = ["Embedder", "verify"]
