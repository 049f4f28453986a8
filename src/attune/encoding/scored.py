"""Encoders of the systems that are scored: the exported graphs, in the engine that encodes fastest here.

A system is scored by the graph that ships, in `attune.runtime`: by OpenVINO where it is installed, else by onnxruntime.
On a GPU, torch runs the weights that the graph was made of. An encoder of a round of training has no graph; torch runs
it everywhere. An encoder behind an endpoint has neither: its server embeds (encoding/served.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from attune.encoding.origin import right_precision
from attune.encoding.served import ENGINE, ServedEncoder, is_served
from attune.runtime import Embedder
from attune.runtime.arrays import Float32
from attune.runtime.engines import has_bf16, has_openvino
from attune.stage import Machine

GRAPHS = {"base": "onnx/model.onnx", "tuned": "onnx/model.onnx", "tuned_int8": "onnx/model_quantized.onnx"}
GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either below Windows


class Encoder(Protocol):
    """An encoder of queries and documents: (n texts) -> float32 (n, dim), rows of length 1."""

    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""

    def encode_query(self, texts: Sequence[str], *, show_progress: bool = False) -> Float32:
        """Embeds queries, with the query prompt if the encoder has one."""

    def encode_document(self, texts: Sequence[str], *, show_progress: bool = False) -> Float32:
        """Embeds documents, with the document prompt if the encoder has one."""


class Way(NamedTuple):
    """Engine, device and number format of a system, on which the last digits of its vectors depend.

    Attributes:
        engine: onnxruntime, openvino, torch, or endpoint.
        device: cpu, cuda, or server.
        precision: of matrix products: fp32, bf16 or int8; unknown of a server.
    """

    engine: str
    device: str
    precision: str


def has_gpu() -> bool:
    """Tells whether torch can use a GPU; imports torch only where a driver is there."""
    if not any(Path(driver).exists() for driver in GPU_DRIVERS):
        return False
    import torch  # noqa: PLC0415  takes seconds

    return bool(torch.cuda.is_available())


def way_of(system: str, model: Path, machine: Machine) -> Way:
    """Returns how a system encodes on this machine, with machine.precision auto resolved.

    Args:
        system: base, tuned, tuned_int8, or round: the encoder of a round of training.
        model: folder of its weights, which says where bf16 is wrong.
        machine: the parameters of that name.
    """
    if is_served(model):
        return Way(ENGINE, "server", "unknown")
    if system not in GRAPHS or (system != "tuned_int8" and has_gpu()):
        from attune.encoding.encoders import precision_of  # noqa: PLC0415

        return Way("torch", "cuda" if has_gpu() else "cpu", precision_of(model, machine.precision))
    engine = "openvino" if has_openvino() else "onnxruntime"
    if system == "tuned_int8":
        return Way(engine, "cpu", "int8")
    best = "bf16" if engine == "openvino" and has_bf16() else "fp32"
    return Way(engine, "cpu", machine.precision if machine.precision != "auto" else right_precision(model) or best)


def load_encoder(system: str, way: Way, model: Path, exported: Path, machine: Machine) -> Encoder:
    """Loads the encoder of a system.

    Args:
        system: as for `way_of`.
        way: from `way_of`.
        model: folder of the weights, which torch runs.
        exported: folder of the graphs.
        machine: threads, and tokens per batch of torch.

    Raises:
        BadInput: a file is missing or damaged, or the engine lacks the precision.
    """
    if way.engine == ENGINE:
        return ServedEncoder.load(model)
    if way.engine != "torch":
        precision = "fp32" if way.precision == "int8" else way.precision  # what is not int8 in its graph
        return Embedder(exported, GRAPHS[system], machine.threads, way.engine, precision)
    # imported here: torch takes seconds
    from attune.encoding.encoders import TorchEncoder, load_torch  # noqa: PLC0415
    from attune.encoding.torch_threads import set_torch_threads  # noqa: PLC0415

    set_torch_threads(machine.threads)
    return TorchEncoder(load_torch(model), way.precision, machine.batch_tokens)
